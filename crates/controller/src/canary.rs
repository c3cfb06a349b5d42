//! What the proxy counts of a canary becomes an event: what both sides did since the report before.

use plan::Event;
use plan::figures::CanaryCounts;
use plan::routing::{RoutingTable, Version};

/// The counts that the proxy told last.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// And of which version's canary they were.
    last: Option<(Version, CanaryCounts)>,
}

impl Told {
    /// The event that a report is. The first of a canary, as the first after a restart, only says where the counts begin.
    /// `table`: the newest one.
    pub(crate) fn take(
        &mut self,
        counts: CanaryCounts,
        table: Option<&RoutingTable>,
    ) -> Option<Event> {
        let split = table.and_then(|table| table.split.as_ref());
        self.take_of(counts, split.map(|split| split.version))
    }

    fn take_of(&mut self, counts: CanaryCounts, canary: Option<Version>) -> Option<Event> {
        let Some(version) = canary else {
            self.last = None;
            return None;
        };
        let (known, earlier) = self.last.replace((version, counts.clone()))?;
        let figures = counts.since(&earlier, version);
        let is_new = figures.new.requests > 0 || figures.old.requests > 0;
        (known == version && is_new).then_some(Event::CanaryFigures { figures })
    }
}

#[cfg(test)]
mod tests {
    use plan::figures::Figures;
    use plan::time::Timestamp;

    use super::*;

    fn counts(new: u64, old: u64) -> CanaryCounts {
        let figures = |requests| Figures {
            requests,
            ..Figures::default()
        };
        CanaryCounts {
            counting_since: Timestamp(1),
            versions: vec![(1, figures(old)), (2, figures(new))],
        }
    }

    fn told(event: Option<Event>) -> Option<(u64, u64)> {
        match event? {
            Event::CanaryFigures { figures } => Some((figures.new.requests, figures.old.requests)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn differences_are_told_from_the_second_report_on() {
        let mut known = Told::default();
        assert_eq!(told(known.take_of(counts(5, 50), Some(2))), None);
        assert_eq!(told(known.take_of(counts(7, 80), Some(2))), Some((2, 30)));
        assert_eq!(
            told(known.take_of(counts(7, 80), Some(2))),
            None,
            "nothing new"
        );
    }

    #[test]
    fn another_canary_begins_anew() {
        let mut known = Told::default();
        known.take_of(counts(5, 50), Some(2));
        assert_eq!(told(known.take_of(counts(7, 80), Some(1))), None);
        assert_eq!(told(known.take_of(counts(7, 90), Some(1))), Some((10, 0)));
        known.take_of(counts(9, 90), None);
        assert_eq!(told(known.take_of(counts(20, 99), Some(1))), None);
    }
}
