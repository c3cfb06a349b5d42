//! Certificates of the services: read when a table comes, read anew when the files change, told of before they end.

use std::sync::Arc;

use plan::routing::RoutingTable;
use plan::time::Timestamp;

use super::{Entry, Registry};
use crate::clock;
use crate::log::{Event, format_time};
use crate::tls::Certificate;

/// A certificate that ends in less time than this is told of, in microseconds.
const WARNING_MICROS: i64 = 14 * DAY_MICROS;
/// It is told of once in this time.
const DAY_MICROS: i64 = 24 * 3600 * 1_000_000;

/// The certificate of a service, and what was said of it.
#[derive(Clone, Debug, Default)]
pub(super) struct CertificateState {
    /// `None` where connections are not encrypted, or cannot be.
    pub(super) certificate: Option<Certificate>,
    /// Why its files cannot be used, as it was logged last.
    complaint: String,
    /// When it was logged that it ends soon.
    warned_at: Option<Timestamp>,
}

impl CertificateState {
    pub(super) fn new(certificate: Option<Certificate>) -> Self {
        Self {
            certificate,
            ..Self::default()
        }
    }

    /// Seconds until it ends.
    pub(super) fn seconds_left(&self, now: Timestamp) -> Option<i64> {
        let end = self.certificate.as_ref()?.expires?;
        Some(end.0.saturating_sub(now.0).div_euclid(1_000_000))
    }

    /// What is to be logged of its end, if it is time for that.
    fn warning(&mut self, now: Timestamp) -> Option<Event> {
        let certificate = self.certificate.as_ref()?;
        let end = certificate.expires?;
        let left = end.0.saturating_sub(now.0);
        let is_told = |at: Timestamp| now.0.saturating_sub(at.0) < DAY_MICROS;
        if left >= WARNING_MICROS || self.warned_at.is_some_and(is_told) {
            return None;
        }
        self.warned_at = Some(now);
        let (name, how) = match left {
            ..0 => ("certificate_expired", "has expired at".to_owned()),
            _ => {
                let days = left / DAY_MICROS;
                let how = format!("expires in {days} days, at");
                ("certificate_expires", how)
            }
        };
        let file = certificate.file();
        let detail = format!(
            "service.tls.certfile '{file}' {how} {}: put a new certificate and its key in place of the files",
            format_time(end)
        );
        Some(Event::new(name, detail))
    }
}

impl Registry {
    /// The certificate of a restored table. Without one the endpoint serves nobody until it can be read.
    pub(super) fn certificate_at_start(&self, table: &RoutingTable) -> Option<Certificate> {
        let loaded = Certificate::load(table.tls.as_ref()?);
        let failed = |error: String| {
            let event = Event::new("certificate_unusable", error);
            self.logs.event(event.of(&table.service));
        };
        loaded.map_err(failed).ok()
    }

    /// Reads certificates whose files have changed, and tells of those that end soon.
    pub(in crate::worker) fn look_at_certificates(&mut self) {
        let now = clock::now();
        for (name, entry) in &mut self.entries {
            for event in [entry.renew(), entry.tls.warning(now)]
                .into_iter()
                .flatten()
            {
                self.logs.event(event.of(name));
            }
        }
    }
}

impl Entry {
    fn renew(&mut self) -> Option<Event> {
        let tls = &mut self.tls;
        let renewed = match (&tls.certificate, self.service.table().tls) {
            (Some(known), _) => known.renewed(),
            (None, Some(files)) => Certificate::load(&files).map(Some),
            (None, None) => return None,
        };
        match renewed {
            Ok(None) => {
                tls.complaint.clear();
                None
            }
            Ok(Some(certificate)) => {
                self.service.set_tls(Some(Arc::clone(&certificate.config)));
                *tls = CertificateState::new(Some(certificate));
                Some(Event::new("certificate_renewed", "the files have changed"))
            }
            Err(error) if error == tls.complaint => None,
            Err(error) => {
                tls.complaint.clone_from(&error);
                Some(Event::new("certificate_not_renewed", error))
            }
        }
    }
}

/// The certificate for `table`, given the one before.
pub(super) fn certificate_for(
    table: &RoutingTable,
    before: Option<&CertificateState>,
) -> Result<CertificateState, String> {
    let Some(files) = &table.tls else {
        return Ok(CertificateState::default());
    };
    let same = before.filter(|before| {
        let known = before.certificate.as_ref();
        known.is_some_and(|known| known.is_from(files))
    });
    let Some(before) = same else {
        let certificate = Certificate::load(files)?;
        return Ok(CertificateState::new(Some(certificate)));
    };
    // Files that cannot be used any more are no reason to refuse replicas.
    let renewed = before.certificate.as_ref().map(Certificate::renewed);
    Ok(match renewed {
        Some(Ok(Some(renewed))) => CertificateState::new(Some(renewed)),
        _ => before.clone(),
    })
}
