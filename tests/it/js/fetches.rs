//! fetches
