//! The protobuf messages of the manifest and of code headers, as they stand in the file.
//!
//! Field numbers are the format: they are never used again for something else. [`crate::scan`] knows which fields are
//! messages.

use prost::{Message, Oneof};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Manifest {
    #[prost(message, optional, tag = "1")]
    pub model: Option<Model>,
    #[prost(string, tag = "2")]
    pub pipeline: String,
    #[prost(message, optional, tag = "3")]
    pub calibration: Option<Calibration>,
    #[prost(string, repeated, tag = "4")]
    pub targets: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    pub tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "6")]
    pub states: Vec<State>,
    #[prost(string, repeated, tag = "7")]
    pub kernels: Vec<String>,
    #[prost(message, repeated, tag = "8")]
    pub entries: Vec<Entry>,
    #[prost(message, repeated, tag = "9")]
    pub layers: Vec<Layer>,
    #[prost(message, optional, tag = "10")]
    pub text: Option<Text>,
    #[prost(message, repeated, tag = "11")]
    pub builtins: Vec<BuiltinVersion>,
    #[prost(message, repeated, tag = "12")]
    pub metadata: Vec<Pair>,
    #[prost(message, optional, tag = "13")]
    pub cuda: Option<crate::cuda::WirePlan>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Model {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub family: String,
    #[prost(string, tag = "3")]
    pub source_format: String,
    #[prost(string, tag = "4")]
    pub source_digest: String,
    #[prost(string, tag = "5")]
    pub licence: String,
    #[prost(uint64, tag = "6")]
    pub context_length: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Calibration {
    #[prost(string, tag = "1")]
    pub digest: String,
    #[prost(string, tag = "2")]
    pub description: String,
    #[prost(uint64, tag = "3")]
    pub windows: u64,
    #[prost(uint64, tag = "4")]
    pub window_len: u64,
    #[prost(uint64, tag = "5")]
    pub tokens: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Tensor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub dtype: String,
    #[prost(uint64, repeated, tag = "3")]
    pub dims: Vec<u64>,
    #[prost(string, tag = "4")]
    pub encoding: String,
    #[prost(message, repeated, tag = "5")]
    pub parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Part {
    #[prost(string, tag = "1")]
    pub role: String,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    #[prost(uint64, tag = "3")]
    pub length: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct State {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub dtype: String,
    #[prost(string, repeated, tag = "3")]
    pub dims: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Layer {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub encoding: String,
    #[prost(double, tag = "3")]
    pub bits: f64,
    #[prost(double, tag = "4")]
    pub stored_bits: f64,
    #[prost(uint32, tag = "5")]
    pub weak_columns: u32,
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
    #[prost(double, tag = "7")]
    pub error: f64,
    #[prost(string, tag = "8")]
    pub reason: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Text {
    #[prost(uint64, optional, tag = "1")]
    pub bos: Option<u64>,
    #[prost(bool, tag = "2")]
    pub add_bos: bool,
    #[prost(uint64, repeated, tag = "3")]
    pub stop: Vec<u64>,
    #[prost(string, optional, tag = "4")]
    pub chat_template: Option<String>,
    #[prost(uint64, tag = "5")]
    pub context: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct BuiltinVersion {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub version: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pair {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, repeated, tag = "2")]
    pub symbols: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    pub fixed: Vec<Fixed>,
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<Port>,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Port>,
    #[prost(message, repeated, tag = "6")]
    pub buffers: Vec<Buffer>,
    #[prost(uint32, tag = "7")]
    pub slots: u32,
    #[prost(message, repeated, tag = "8")]
    pub steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Fixed {
    #[prost(string, tag = "1")]
    pub symbol: String,
    #[prost(uint64, tag = "2")]
    pub value: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Port {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub dtype: String,
    #[prost(string, repeated, tag = "3")]
    pub dims: Vec<String>,
    #[prost(uint32, tag = "4")]
    pub buffer: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Buffer {
    #[prost(oneof = "BufferKind", tags = "1, 2, 3, 4, 5, 7")]
    pub kind: Option<BufferKind>,
    #[prost(string, tag = "6")]
    pub bytes: String,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum BufferKind {
    #[prost(uint32, tag = "1")]
    Input(u32),
    #[prost(uint32, tag = "2")]
    Output(u32),
    #[prost(uint32, tag = "3")]
    Slot(u32),
    #[prost(uint32, tag = "4")]
    State(u32),
    #[prost(message, tag = "5")]
    Tensor(TensorPart),
    #[prost(message, tag = "7")]
    Errors(Errors),
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Errors {}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TensorPart {
    #[prost(uint32, tag = "1")]
    pub tensor: u32,
    #[prost(string, tag = "2")]
    pub role: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Step {
    #[prost(oneof = "StepKind", tags = "1, 2, 3, 4, 5")]
    pub kind: Option<StepKind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum StepKind {
    #[prost(message, tag = "1")]
    Launch(Launch),
    #[prost(message, tag = "2")]
    Builtin(Builtin),
    #[prost(message, tag = "3")]
    If(If),
    #[prost(message, tag = "4")]
    Loop(Loop),
    #[prost(message, tag = "5")]
    Bind(Bind),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bind {
    #[prost(string, repeated, tag = "1")]
    pub symbols: Vec<String>,
    #[prost(uint32, tag = "2")]
    pub values: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Launch {
    #[prost(string, tag = "1")]
    pub label: String,
    #[prost(uint32, tag = "2")]
    pub kernel: u32,
    #[prost(uint32, repeated, tag = "3")]
    pub bufs: Vec<u32>,
    #[prost(string, repeated, tag = "4")]
    pub dims: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Builtin {
    #[prost(string, tag = "1")]
    pub label: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(uint32, repeated, tag = "3")]
    pub bufs: Vec<u32>,
    #[prost(uint32, repeated, tag = "4")]
    pub tensors: Vec<u32>,
    #[prost(string, repeated, tag = "5")]
    pub dims: Vec<String>,
    #[prost(sint64, repeated, tag = "6")]
    pub ints: Vec<i64>,
    #[prost(double, repeated, tag = "7")]
    pub floats: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct If {
    #[prost(uint32, tag = "1")]
    pub cond: u32,
    #[prost(message, repeated, tag = "2")]
    pub then: Vec<Step>,
    #[prost(message, repeated, tag = "3")]
    pub otherwise: Vec<Step>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Loop {
    #[prost(uint32, tag = "1")]
    pub trips: u32,
    #[prost(uint32, optional, tag = "2")]
    pub index: Option<u32>,
    #[prost(message, repeated, tag = "3")]
    pub body: Vec<Step>,
    #[prost(uint32, optional, tag = "4")]
    pub live: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CodeHeader {
    #[prost(message, repeated, tag = "1")]
    pub symbols: Vec<CodeSymbol>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CodeSymbol {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub offset: u64,
}
