//! actc-runtime
