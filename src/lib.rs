//! actc
