//! What a message is: element types, arrays, dataframes, and the buffers that hold their bytes. Knows nothing of the wire.

pub(crate) mod allocator;
pub(crate) mod array;
pub(crate) mod buffer;
pub(crate) mod column;
pub(crate) mod column_type;
pub(crate) mod dtype;
pub(crate) mod element;
pub(crate) mod frame;
pub(crate) mod message;
pub(crate) mod validate;

pub use allocator::{AllocError, BufferAllocator, BufferMut, HeapAllocator};
pub use array::{Array, NotDense};
pub use buffer::{Backing, Buffer, Stability};
pub use column::{Column, ColumnData, Dictionary};
pub use column_type::{ArrowTimeUnit, ColumnType, ColumnTypeError};
pub use dtype::{ByteOrder, Dtype, Field, RecordType, Scalar, ScalarKind, TimeUnit};
pub use element::Element;
pub use frame::Frame;
pub use message::{Attributes, Body, Message};
