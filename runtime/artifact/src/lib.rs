//! actc-artifact
