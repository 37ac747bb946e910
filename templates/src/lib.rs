//! actc-templates
