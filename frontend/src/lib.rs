//! actc-frontend
