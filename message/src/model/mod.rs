//! What a message is: element types, arrays, dataframes, and the buffers that hold their bytes. Knows nothing of the wire.

pub(crate) mod allocator;
pub(crate) mod array;
pub(crate) mod array_layout;
pub(crate) mod buffer;
pub(crate) mod column;
pub(crate) mod column_error;
pub(crate) mod column_type;
pub(crate) mod dtype;
pub(crate) mod element;
pub(crate) mod few;
pub(crate) mod frame;
pub(crate) mod frame_error;
pub(crate) mod heap;
pub(crate) mod message;
pub(crate) mod name;
pub(crate) mod packed;
pub(crate) mod schema;
pub(crate) mod shape;
pub(crate) mod small;
pub(crate) mod unique;
pub(crate) mod validate;

pub use allocator::{ALIGNMENT, AllocError, BufferAllocator, BufferMut};
pub use array::{Array, NotDense};
pub use buffer::{Backing, Buffer, Stability};
pub use column::{Column, ColumnData, Dictionary};
pub use column_error::ColumnError;
pub use column_type::{ArrowTimeUnit, ColumnType, ColumnTypeError};
pub use dtype::{ByteOrder, Dtype, DtypeError, Field, RecordType, Scalar, ScalarKind, TimeUnit};
pub use element::Element;
pub use frame::Frame;
pub use frame_error::FrameError;
pub use heap::HeapAllocator;
pub use message::{Attributes, Body, Message};
pub use name::{MAX_NAME_LEN, NameError};
pub use shape::ArrayError;
