//! Counting the messages inside a manifest before any of them is decoded.
//!
//! A message of no field takes two bytes in the file and up to a few hundred in memory. This walk over the raw fields
//! takes no memory and bounds what decoding may take.

use actc_types::{Diagnostic, Result};

/// Depth of messages inside messages; decoding refuses more too.
const MAX_DEPTH: usize = 48;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Manifest,
    Tensor,
    Entry,
    Buffer,
    Step,
    If,
    Loop,
    Cuda,
    CudaKernel,
    /// A message without messages inside.
    Leaf,
}

impl Kind {
    /// The kind of message in field `tag`, or `None` where the field is no message.
    fn child(self, tag: u64) -> Option<Kind> {
        match (self, tag) {
            (Kind::Manifest, 5) => Some(Kind::Tensor),
            (Kind::Manifest, 8) => Some(Kind::Entry),
            (Kind::Manifest, 13) => Some(Kind::Cuda),
            (Kind::Cuda, 1) => Some(Kind::CudaKernel),
            (Kind::Cuda, 2) => Some(Kind::Entry),
            (Kind::Cuda, 3) | (Kind::CudaKernel, 2) => Some(Kind::Leaf),
            (Kind::Manifest, 1 | 3 | 6 | 9..=12) | (Kind::Tensor, 5) => Some(Kind::Leaf),
            (Kind::Entry, 3..=5) | (Kind::Buffer, 5 | 7) | (Kind::Step, 1 | 2) => Some(Kind::Leaf),
            (Kind::Entry, 6) => Some(Kind::Buffer),
            (Kind::Entry, 8) | (Kind::If, 2 | 3) | (Kind::Loop, 3) => Some(Kind::Step),
            (Kind::Step, 3) => Some(Kind::If),
            (Kind::Step, 4) => Some(Kind::Loop),
            (
                Kind::Manifest
                | Kind::Tensor
                | Kind::Entry
                | Kind::Buffer
                | Kind::Step
                | Kind::If
                | Kind::Loop
                | Kind::Cuda
                | Kind::CudaKernel
                | Kind::Leaf,
                _,
            ) => None,
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if *byte < 128 {
            return Some(value);
        }
    }
    None
}

fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}

/// The next field: its number, and its bytes where it is length-delimited.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(bytes)?;
    let content = match key & 7 {
        0 => varint(bytes).map(|_| None)?,
        1 => split(bytes, 8).map(|_| None)?,
        5 => split(bytes, 4).map(|_| None)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Some(split(bytes, length)?)
        }
        _ => return None,
    };
    Some((key >> 3, content))
}

/// Number of fields of one message, or `None` where the bytes are no message.
pub(crate) fn count_fields(mut bytes: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !bytes.is_empty() {
        field(&mut bytes)?;
        count += 1;
    }
    Some(count)
}

/// Number of messages in the manifest `bytes`, itself included; an error where there are more than `limit`.
pub(crate) fn count_messages(bytes: &[u8], limit: usize) -> Result<usize> {
    let mut count = Count { messages: 0, texts: 0 };
    count_kind(Kind::Manifest, bytes, 0, limit, &mut count)?;
    Ok(count.messages)
}

struct Count {
    messages: usize,
    /// Length-delimited fields that are no messages: names, dimensions, packed numbers.
    texts: usize,
}

/// Texts per message that the limit allows for.
const TEXTS: usize = 8;

fn count_kind(kind: Kind, mut bytes: &[u8], depth: usize, limit: usize, count: &mut Count) -> Result<()> {
    count.messages += 1;
    if depth > MAX_DEPTH {
        return Err(Diagnostic::new("artifact-limit", format!("messages nest deeper than {MAX_DEPTH}")));
    }
    while !bytes.is_empty() {
        let (tag, content) = field(&mut bytes)
            .ok_or_else(|| Diagnostic::new("artifact-manifest", "the manifest is no protobuf message"))?;
        match (content, kind.child(tag)) {
            (Some(content), Some(child)) => count_kind(child, content, depth + 1, limit, count)?,
            (Some(_), None) => count.texts += 1,
            (None, _) => {}
        }
        if count.messages > limit || count.texts / TEXTS > limit {
            return Err(Diagnostic::new("artifact-limit", format!("the manifest has more than {limit} messages")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::WirePlan;
    use crate::wire::*;
    use prost::Message;

    #[test]
    fn every_message_is_counted() {
        let launch = Step { kind: Some(StepKind::Launch(Launch::default())) };
        let builtin = Step { kind: Some(StepKind::Builtin(Builtin::default())) };
        let branch = Step {
            kind: Some(StepKind::If(If { cond: 1, then: vec![launch.clone()], otherwise: vec![builtin.clone()] })),
        };
        let rounds = Step {
            kind: Some(StepKind::Loop(Loop { trips: 1, live: Some(1), index: Some(1), body: vec![branch.clone()] })),
        };
        let port = Port { dims: vec!["S".into()], ..Port::default() };
        let kind = Some(BufferKind::Tensor(TensorPart { tensor: 1, role: "data".into() }));
        let errors = Buffer { kind: Some(BufferKind::Errors(Errors {})), bytes: "64".into() };
        let entry = Entry {
            fixed: vec![Fixed::default(); 2],
            inputs: vec![port.clone(); 3],
            outputs: vec![port; 2],
            buffers: vec![Buffer { kind, bytes: "4".into() }; 3],
            // loop, its message, if, its message, launch and builtin with theirs: 8.
            steps: vec![rounds],
            ..Entry::default()
        };
        let gpu = Entry { buffers: vec![errors; 2], ..Entry::default() };
        let kernel = crate::cuda::wire::Kernel { grid: vec![Default::default(); 3], ..Default::default() };
        let cuda = WirePlan { kernels: vec![kernel; 2], entries: vec![gpu], targets: vec![Default::default(); 3] };
        let manifest = Manifest {
            cuda: Some(cuda),
            model: Some(Model::default()),
            calibration: Some(Calibration::default()),
            tensors: vec![Tensor { parts: vec![Part::default(); 4], ..Tensor::default() }; 2],
            states: vec![State::default(); 3],
            entries: vec![entry],
            layers: vec![Layer::default(); 2],
            text: Some(Text::default()),
            builtins: vec![BuiltinVersion::default(); 2],
            metadata: vec![Pair::default(); 3],
            ..Manifest::default()
        };
        let bytes = manifest.encode_to_vec();
        let of_gpus = 1 + 2 * 4 + (1 + 2 * 2) + 3;
        let wanted = of_gpus + 1 + 1 + 1 + 2 * 5 + 3 + (1 + 2 + 3 + 2 + 3 * 2 + 8) + 2 + 1 + 2 + 3;
        assert_eq!(count_messages(&bytes, 1000).unwrap(), wanted);
        assert_eq!(count_messages(&bytes, wanted - 1).unwrap_err().code, "artifact-limit");
    }
}
