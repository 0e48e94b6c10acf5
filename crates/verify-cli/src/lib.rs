//! The commands of `state-lab`.
