//! The forms in which records are shown.

use alcove_agent_api::{MarkerWriter, Stream};

use crate::session::log::Record;

/// One form, and the place in it.
#[derive(Debug, Clone)]
pub enum View {
    /// Both streams, a marker before each line and at each change.
    Marked(MarkerWriter),
    /// Both streams as they came.
    Combined,
    Only(Stream),
}

impl View {
    pub fn marked() -> Self {
        Self::Marked(MarkerWriter::default())
    }

    /// The records in this form.
    pub fn show_all(&mut self, records: &[Record]) -> Vec<u8> {
        let mut out = Vec::new();
        for record in records {
            self.show(record, &mut out);
        }
        out
    }

    /// Appends the record in this form.
    fn show(&mut self, record: &Record, out: &mut Vec<u8>) {
        match self {
            Self::Marked(writer) => writer.write(record.stream, &record.bytes, out),
            Self::Combined => out.extend_from_slice(&record.bytes),
            Self::Only(stream) if *stream == record.stream => out.extend_from_slice(&record.bytes),
            Self::Only(_) => {}
        }
    }
}
