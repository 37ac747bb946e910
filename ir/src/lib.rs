//! actc-ir
