//! For tests only: an installation of `sky` in a folder of its own that leaves nothing behind, and load that counts
//! every answer.

mod installation;
mod load;

pub use installation::{Installation, Output};
pub use load::{Load, Report};
