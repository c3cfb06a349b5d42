//! Tables with other settings than the usual.

use plan::routing::RoutingTable;
use spec::LoadBalancer;

/// `table` with other settings.
pub(crate) fn with(
    mut table: RoutingTable,
    change: impl FnOnce(&mut LoadBalancer),
) -> RoutingTable {
    change(&mut table.load_balancer);
    table
}

/// The table after `table`, with a change.
pub(crate) fn newer(table: &RoutingTable, change: impl FnOnce(&mut RoutingTable)) -> RoutingTable {
    let mut table = table.clone();
    table.generation += 1;
    change(&mut table);
    table
}
