//! embed-assets
