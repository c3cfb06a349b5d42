//! The controller's end of the proxy: the rules of `controller/src/proxy_link.rs`, and of the actor for what comes from it.

use plan::routing::{ProxyCommand, ProxyReport};
use plan::{Action, Event, Span};

use super::{Message, World};

impl World {
    pub(super) fn reported(&mut self, connection: u64, report: ProxyReport) {
        if self.proxy.connection != Some(connection) {
            return;
        }
        if matches!(report, ProxyReport::Hello { .. }) {
            self.greeted();
        }
        self.post(Span(1000), Message::Report(report));
    }

    /// On each connection everything is told anew.
    fn greeted(&mut self) {
        let Some(controller) = &self.controller else {
            return;
        };
        if controller.withdrawn {
            let service = controller.state.name.clone();
            self.command(ProxyCommand::Withdraw { service });
        } else if let Some(table) = controller.table.clone() {
            self.command(ProxyCommand::Apply { table });
        }
    }

    pub(super) fn heard(&mut self, report: ProxyReport) {
        match report {
            ProxyReport::Hello { .. } => self.happened(Event::ProxyConnected, None),
            ProxyReport::Acknowledged {
                generation,
                in_flight,
                ..
            } => {
                let newest = self.controller.as_ref().map(|c| c.state.generation());
                let settles = (newest == Some(generation)).then(|| "route".to_owned());
                self.happened(
                    Event::Acknowledged {
                        generation,
                        in_flight,
                    },
                    settles,
                );
            }
            ProxyReport::Refused {
                generation, reason, ..
            } => {
                self.happened(Event::TableRefused { generation, reason }, None);
            }
            ProxyReport::Withdrawn { .. } => {
                self.happened(Event::Withdrawn, Some(Action::Withdraw.key()));
            }
            ProxyReport::Traffic {
                generation,
                in_flight,
                arrivals,
                ..
            } => {
                self.happened(
                    Event::Traffic {
                        generation,
                        in_flight,
                        arrivals,
                    },
                    None,
                );
            }
            ProxyReport::UpstreamFailed { replica_id, .. } => self.probe_now(replica_id),
            // Made into figures at the proxy's side here.
            ProxyReport::Canary { .. } => {}
        }
    }
}
