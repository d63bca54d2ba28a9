//! embed-testkit
