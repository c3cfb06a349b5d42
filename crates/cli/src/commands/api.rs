//! `sky api …`.

pub(crate) mod metrics;
pub(crate) mod restart;
pub(crate) mod serve;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
