//! Scalar summaries in TensorBoard's event file format: length-framed protobuf records with masked CRC-32C.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// `SessionLog.SessionStatus.START`: readers drop events of earlier files from this event's step on.
const SESSION_START: u64 = 1;

/// An event file that grows by one record a scalar.
#[derive(Debug)]
pub struct EventFile {
    file: File,
}

impl EventFile {
    /// Opens a new event file in `folder`; its name holds the time, as TensorBoard expects. It begins with a start event:
    /// what earlier files of the folder say of steps from `first` on is void, since a run that was interrupted does them
    /// again.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(folder: &Path, first: u64) -> std::io::Result<Self> {
        let name = format!("events.out.tfevents.{:010}.syncyte", now() as u64);
        let file = OpenOptions::new().create(true).append(true).open(folder.join(name))?;
        let mut events = Self { file };
        let mut version = Vec::new();
        put_double(&mut version, 1, now());
        put_bytes(&mut version, 3, b"brain.Event:2");
        events.record(&version)?;
        let (mut start, mut session) = (Vec::new(), Vec::new());
        put_key(&mut session, 1, 0);
        put_varint(&mut session, SESSION_START);
        put_double(&mut start, 1, now());
        put_key(&mut start, 2, 0);
        put_varint(&mut start, first);
        put_bytes(&mut start, 7, &session);
        events.record(&start)?;
        Ok(events)
    }

    /// Appends one scalar.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f64) -> std::io::Result<()> {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, tag.as_bytes());
        put_key(&mut entry, 2, 5);
        entry.extend((value as f32).to_le_bytes());
        let mut summary = Vec::new();
        put_bytes(&mut summary, 1, &entry);
        let mut event = Vec::new();
        put_double(&mut event, 1, now());
        put_key(&mut event, 2, 0);
        put_varint(&mut event, step);
        put_bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, data: &[u8]) -> std::io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let mut frame = Vec::with_capacity(data.len() + 16);
        frame.extend(length);
        frame.extend(masked_crc(&length).to_le_bytes());
        frame.extend(data);
        frame.extend(masked_crc(data).to_le_bytes());
        self.file.write_all(&frame)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// The mask of the record format: rotate right by 15, add a constant.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn put_key(out: &mut Vec<u8>, field: u64, wire: u64) {
    put_varint(out, field << 3 | wire);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(out, field, 2);
    put_varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn put_double(out: &mut Vec<u8>, field: u64, value: f64) {
    put_key(out, field, 1);
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_mask_and_varints_follow_the_format() {
        // RFC 3720's test vector for CRC-32C: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let mut out = Vec::new();
        put_varint(&mut out, 300);
        assert_eq!(out, [0xac, 0x02]);
    }

    #[test]
    fn every_record_is_framed_by_its_length_and_checksums() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = EventFile::create(folder.path(), 1).unwrap();
        events.scalar("loss", 7, 0.5).unwrap();
        let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let (bytes, mut at, mut records) = (std::fs::read(path).unwrap(), 0, 0);
        while at < bytes.len() {
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
            let data = &bytes[at + 12..at + 12 + length];
            let crc = u32::from_le_bytes(bytes[at + 12 + length..at + 16 + length].try_into().unwrap());
            assert_eq!(crc, masked_crc(data));
            at += 16 + length;
            records += 1;
        }
        assert_eq!((records, at), (3, bytes.len()));
    }
}
