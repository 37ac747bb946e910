//! actc-passes
