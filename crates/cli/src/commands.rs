//! The commands, one file each.

pub(crate) mod agent;
pub(crate) mod api;
pub(crate) mod completions;
pub(crate) mod proxy;
pub(crate) mod serve;
