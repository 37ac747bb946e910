//! Versions of operator sets that a model or a function imports.

use super::schema::OperatorSetIdProto;
use actc_types::{Diagnostic, Result};
use std::collections::BTreeMap;

/// The newest version of the standard's operators that is known.
pub const NEWEST_OPSET: u64 = 28;

/// The name that files also use for the standard's domain, whose name is empty.
const STANDARD: &str = "ai.onnx";

/// The domain under its one name.
pub(super) fn domain(name: Option<String>) -> String {
    match name {
        Some(name) if name != STANDARD => name,
        Some(_) | None => String::new(),
    }
}

/// Versions by domain.
pub(super) fn read(imports: Vec<OperatorSetIdProto>) -> Result<BTreeMap<String, u64>> {
    let mut out = BTreeMap::new();
    for import in imports {
        let stated = import.version.unwrap_or(0);
        let domain = domain(import.domain);
        let version = u64::try_from(stated).ok().filter(|v| *v > 0).ok_or_else(|| {
            Diagnostic::new("onnx-opset", format!("the operators of `{domain}` have the version {stated}"))
        })?;
        if domain.is_empty() && version > NEWEST_OPSET {
            let headline = format!("the model uses version {version} of the operators, known are 1 to {NEWEST_OPSET}");
            return Err(Diagnostic::new("onnx-opset", headline)
                .help("export it for an older version, or convert it with `onnx.version_converter`"));
        }
        if let Some(other) = out.insert(domain.clone(), version).filter(|other| *other != version) {
            let headline = format!("the operators of `{domain}` have the versions {other} and {version} at once");
            return Err(Diagnostic::new("onnx-opset", headline));
        }
    }
    Ok(out)
}
