//! `bug!(Name)`: whether the planner is to make a deliberate mistake, for the simulator to find. Without the feature
//! `planted-bugs` it is `false`, and nothing of it is compiled.

#[cfg(feature = "planted-bugs")]
macro_rules! bug {
    ($bug:ident) => {
        crate::planted::has(crate::planted::Bug::$bug)
    };
}

#[cfg(not(feature = "planted-bugs"))]
macro_rules! bug {
    ($bug:ident) => {
        false
    };
}
