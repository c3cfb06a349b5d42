//! `sky serve …`.

pub(crate) mod auth;
pub(crate) mod diff;
pub(crate) mod down;
pub(crate) mod estimate;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod logs;
pub(crate) mod status;
pub(crate) mod steer;
pub(crate) mod up;
pub(crate) mod update;
pub(crate) mod validate;
pub(crate) mod wait;
pub(crate) mod why;
