//! actc-codegen
