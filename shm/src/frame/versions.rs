//! Frames that get other columns: a new version of a handle, over the memory of the columns that stay.

use std::sync::Arc;

use numpush_message::{Column, Frame};

use crate::arena::Arena;
use crate::error::Error;
use crate::frame::SharedFrame;
use crate::frame::description::ColumnDescription;

impl SharedFrame {
    /// Adds a column, which is copied into `arena`; the others stay where they are.
    ///
    /// # Errors
    /// [`Error::Column`] if the name is taken, or if the column has another number of rows; [`Error::NotOwner`] in a process
    /// that has only opened the frame; [`Error::NoRoom`]. The frame is as it was then.
    pub fn add_column(&mut self, arena: &Arena, column: &Column<'_>) -> Result<(), Error> {
        if self.columns().any(|name| name == column.name()) {
            return Err(fault(column, "is in the frame already".into()));
        }
        self.put(arena, column, None)
    }

    /// Replaces the column of the same name by `column`, of any type, which is copied into `arena`; the others stay where they
    /// are, and in their order. The memory of the column before is free when no version has it any more.
    ///
    /// That is how text is changed. Workers read the frame, each returns the new text of its rows, and whoever made the
    /// frame puts them together:
    ///
    /// ```
    /// # #[cfg(feature = "arrow")] {
    /// use std::sync::Arc;
    ///
    /// use arrow_array::{ArrayRef, RecordBatch, StringArray};
    /// use numpush_message::Frame;
    /// use numpush_shm::{Arena, Error, Pool, SharedFrame, Tasks};
    ///
    /// fn shout(rows: (usize, usize), frame: SharedFrame) -> Result<Vec<String>, Error> {
    ///     let guard = frame.read()?;
    ///     let cities = guard.strings("city")?;
    ///     Ok((rows.0..rows.1).map(|row| cities.get(row).unwrap_or_default().to_uppercase()).collect())
    /// }
    ///
    /// Tasks::new().with(shout).serve();
    /// let one_column = |values| {
    ///     let values: ArrayRef = Arc::new(StringArray::from(values));
    ///     RecordBatch::try_from_iter([("city", values)])
    /// };
    /// let arena = Arena::shared();
    /// let mut frame = SharedFrame::from_batch(&arena, &one_column(vec!["Jena".to_owned(), "Ulm".to_owned()])?)?;
    /// let pieces: Result<Vec<Vec<String>>, Error> =
    ///     Pool::new(2)?.map(shout, [(0, 1), (1, 2)], &frame)?.into_iter().collect();
    /// let louder = one_column(pieces?.concat())?;
    /// frame.replace_column(&arena, &Frame::from_batch(&louder)?.columns()[0])?;
    /// assert_eq!(frame.read()?.strings("city")?.get(1), Some("ULM"));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Column`] if the frame has none of the name, or if `column` has another number of rows; [`Error::NotOwner`];
    /// [`Error::NoRoom`]. The frame is as it was then.
    pub fn replace_column(&mut self, arena: &Arena, column: &Column<'_>) -> Result<(), Error> {
        let at = self.columns().position(|name| name == column.name());
        let at = at.ok_or_else(|| fault(column, "is not in the frame".into()))?;
        self.put(arena, column, Some(at))
    }

    /// Drops a column; the others stay where they are. Its memory is free when no version has it any more.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name; [`Error::NotOwner`].
    pub fn drop_column(&mut self, name: &str) -> Result<(), Error> {
        let mut description = self.description().clone();
        description.column(name)?;
        description.columns.retain(|column| column.name != name);
        let mut kept = description.renumber();
        if kept.is_empty() {
            // A lock guards bytes: those of any former column will do.
            kept.push(0);
        }
        let all = self.object.raw().reservations("drop a column")?;
        let homes = kept.iter().map(|&span| Arc::clone(&all[span])).collect();
        let spans = self.object.join(kept.iter().copied())?;
        self.object = self.object.version(description, spans, homes)?;
        Ok(())
    }

    /// Puts `column` in the place of number `at`, or after all others.
    fn put(&mut self, arena: &Arena, column: &Column<'_>, at: Option<usize>) -> Result<(), Error> {
        let (rows, all) = (column.data().len(), self.rows());
        if rows != all {
            return Err(fault(
                column,
                format!("has {rows} rows in a frame of {all}"),
            ));
        }
        Frame::new(vec![column.clone()])?.validate()?;
        let all = self.object.raw().reservations("change its columns")?;
        let mut description = self.description().clone();
        let mut buffers = Vec::new();
        let described = ColumnDescription::new(column, &mut |buffer| {
            buffers.push(buffer);
            all.len() + buffers.len() - 1
        });
        match at {
            Some(at) => description.columns[at] = described,
            None => description.columns.push(described),
        }
        let mut copies = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            copies.push(Some(arena.copy_of(buffer)?));
        }
        // The runs of the columns that stay, and the copies, in the order of the columns.
        let (mut spans, mut homes) = (Vec::new(), Vec::new());
        let mut kept = description.renumber();
        if kept.is_empty() {
            kept.push(0);
        }
        for span in kept {
            match span
                .checked_sub(all.len())
                .and_then(|copy| copies[copy].take())
            {
                Some((claim, home)) => {
                    spans.push(claim.into_locked(self.object.raw().lock()));
                    homes.push(home);
                }
                None => {
                    spans.extend(self.object.join([span])?);
                    homes.push(Arc::clone(&all[span]));
                }
            }
        }
        self.object = self.object.version(description, spans, homes)?;
        Ok(())
    }
}

fn fault(column: &Column<'_>, fault: String) -> Error {
    Error::Column {
        name: column.name().to_owned(),
        fault,
    }
}
