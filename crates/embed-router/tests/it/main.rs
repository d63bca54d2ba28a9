//! Tests of the crate at its boundary.
