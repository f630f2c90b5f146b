use super::*;
use crate::model::{Buffer, Column, ColumnData, ColumnType, Frame, HeapAllocator};
use crate::wire::encode::Encoder;

fn head_of(message: &Message<'_>) -> Vec<u8> {
    let encoder = Encoder::new(message, Flags::default()).unwrap();
    let len = PREAMBLE_LEN + encoder.preamble().header_len as usize;
    Vec::from(&encoder.head()[..len])
}

#[test]
fn a_message_lands_in_pieces_of_any_size() {
    for len in [0, 1, 63, 64, 65, 200_000] {
        let sent = Message::new(Buffer::from(vec![9; len])).with_attribute("from", "here");
        for piece in [1, 7, 64, 200_000] {
            let mut heap = HeapAllocator::new();
            // What lies in the region before.
            let mut dirty = heap.allocate(len + 64).unwrap();
            dirty.as_mut_slice().fill(0xff);
            drop(dirty.freeze());
            let mut landing = Landing::new(Limits::default());
            landing.begin(&head_of(&sent)).unwrap();
            landing.find_room(&mut heap).unwrap();
            while landing.expected().is_some() {
                assert!(landing.finish().is_err());
                let spare = landing.spare().unwrap();
                let count = spare.len().min(piece);
                spare[..count].fill(9);
                landing.filled(count);
            }
            assert_eq!(landing.finish().unwrap(), sent);
            if piece == 1 && len > 1000 {
                break;
            }
        }
    }
}

/// The last head is remembered; one that differs in a byte is another.
#[test]
fn a_head_that_comes_again_is_read_as_if_it_were_new() {
    let mut landing = Landing::new(Limits::default());
    let mut anew = |head: &[u8]| {
        let again = landing.begin(head).map(|()| landing.expected());
        let mut other = Landing::new(Limits::default());
        let first = other.begin(head).map(|()| other.expected());
        assert_eq!(again, first);
        first.is_ok()
    };
    let head = head_of(&Message::new(Buffer::from(vec![7; 100])));
    let longer = head_of(&Message::new(Buffer::from(vec![7; 1000])));
    for at in 0..head.len() {
        assert!(anew(&head) && anew(&head));
        let mut changed = head.clone();
        changed[at] ^= 1;
        assert!(!anew(&changed), "byte {at}");
        assert!(!anew(&head[..at]));
        assert!(anew(&longer));
    }
}

#[test]
fn a_message_that_is_there_whole_is_the_same() {
    let mut heap = HeapAllocator::new();
    for len in [1, 63, 64, 1000] {
        let sent = Message::new(Buffer::from(vec![9; len]));
        let (head, bytes) = (head_of(&sent), vec![9; len]);
        let mut landing = Landing::new(Limits::default());
        assert_eq!(landing.again(&head, &bytes, &mut heap), Ok(None));
        landing.begin(&head).unwrap();
        assert_eq!(
            landing.again(&head, &bytes, &mut heap),
            Ok(None),
            "it is at hand"
        );
        landing.cancel();
        // What lies in the region before.
        let mut dirty = heap.allocate(len.next_multiple_of(64)).unwrap();
        dirty.as_mut_slice().fill(0xff);
        drop(dirty.freeze());
        assert_eq!(landing.again(&head, &bytes, &mut heap), Ok(Some(sent)));
        assert_eq!(landing.again(&head, &bytes[1..], &mut heap), Ok(None));
        let mut other = head.clone();
        other[head.len() - 1] ^= 1;
        assert_eq!(landing.again(&other, &bytes, &mut heap), Ok(None));
    }
}

/// A buffer whose length is a multiple of 64 ends where the next one begins.
#[test]
fn a_byte_before_each_buffer_can_be_borrowed() {
    let columns = [("a", 16), ("b", 8), ("c", 1000)].map(|(name, rows)| {
        let buffers = vec![Buffer::default(), vec![9; rows * 8].into()];
        let data = ColumnData::new(ColumnType::Float64, rows, buffers).unwrap();
        Frame::new(vec![Column::new(name, data).unwrap()]).unwrap()
    });
    for sent in columns
        .map(Message::from)
        .into_iter()
        .chain([two_columns()])
    {
        let mut landing = Landing::new(Limits::default()).with_byte_before();
        landing.begin(&head_of(&sent)).unwrap();
        landing.find_room(&mut HeapAllocator::new()).unwrap();
        assert!(landing.last_mut().is_none());
        while let Some(len) = landing.expected() {
            let len = to_usize(len);
            landing.spare().unwrap()[..len].fill(8);
            landing.filled(len);
            let last = landing.last_mut().unwrap();
            assert_eq!(last.len(), len + 1);
            let kept = std::mem::replace(&mut last[0], 77);
            last[1..].fill(9);
            last[0] = kept;
        }
        assert_eq!(landing.finish().unwrap(), sent);
    }
}

fn two_columns() -> Message<'static> {
    let columns = ["a", "b"].map(|name| {
        let buffers = vec![Buffer::default(), vec![9; 128].into()];
        let data = ColumnData::new(ColumnType::Float64, 16, buffers).unwrap();
        Column::new(name, data).unwrap()
    });
    Message::from(Frame::new(columns.into()).unwrap())
}

#[test]
fn what_is_no_head_is_refused_before_there_is_memory_for_it() {
    let head = head_of(&Message::new(Buffer::from(vec![7; 1000])));
    let mut landing = Landing::new(Limits::default().with_payload(1000));
    assert!(matches!(
        landing.begin(&head),
        Err(DecodeError::PayloadTooLong {
            len: 1024,
            max: 1000
        })
    ));
    let mut landing = Landing::new(Limits::default());
    assert!(landing.begin(&head[..head.len() - 1]).is_err());
    let mut long = head.clone();
    long.push(0);
    assert_eq!(
        landing.begin(&long),
        Err(DecodeError::TrailingBytes { count: 1 })
    );
    assert_eq!(landing.expected(), None);
    assert!(landing.finish().is_err());
    landing.begin(&head).unwrap();
    assert_eq!((landing.expected(), landing.buffers()), (Some(1000), 1));
    assert!(landing.cancel().is_none());
    assert_eq!(landing.expected(), None);
    landing.begin(&head).unwrap();
    landing.find_room(&mut HeapAllocator::new()).unwrap();
    assert!(landing.cancel().is_some());
}
