use std::io::{self, Write};
use std::time::SystemTime;

const CLIENT: usize = 0;
const SERVER: usize = 1;
const PORT: u16 = 40_000;
const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;

/// A made-up session, written as a packet file as it goes on.
pub struct Talk<W> {
    out: W,
    ports: [u16; 2],
    seq: [u32; 2],
}

impl<W: Write> Talk<W> {
    /// A connection to the port, over which nothing was said.
    pub fn connect(mut out: W, port: u16) -> io::Result<Talk<W>> {
        for word in [0xa1b2_3c4d_u32, 4 << 16 | 2, 0, 0, 262_144, 1] {
            out.write_all(&word.to_ne_bytes())?;
        }
        let mut talk = Talk {
            out,
            ports: [PORT, port],
            seq: [1, 1],
        };
        talk.packet(CLIENT, SYN, b"")?;
        talk.packet(SERVER, SYN | ACK, b"")?;
        talk.seq = [2, 2];
        Ok(talk)
    }

    /// Of PostgreSQL, up to the first `ReadyForQuery`.
    pub fn start(out: W) -> io::Result<Talk<W>> {
        let mut talk = Talk::connect(out, 5432)?;
        let parameters = b"\0\x03\0\0user\0anna\0database\0shop\0\0";
        let length = (parameters.len() as u32 + 4).to_be_bytes();
        talk.say(CLIENT, &[&length, &parameters[..]].concat())?;
        let ready = [message(b'R', &[0; 4]), message(b'Z', b"I")].concat();
        talk.say(SERVER, &ready)?;
        talk.out.flush()?;
        Ok(talk)
    }

    /// A simple query and its answer.
    pub fn ask(&mut self, sql: &str) -> io::Result<()> {
        self.say(CLIENT, &message(b'Q', format!("{sql}\0").as_bytes()))?;
        let done = [message(b'C', b"SELECT 0\0"), message(b'Z', b"I")].concat();
        self.say(SERVER, &done)?;
        self.out.flush()
    }

    pub fn say_more(&mut self, asked: &str) -> io::Result<()> {
        self.say(CLIENT, asked.as_bytes())
    }

    pub fn exchange(&mut self, asked: &str, answered: &str) -> io::Result<()> {
        self.say(CLIENT, asked.as_bytes())?;
        self.say(SERVER, answered.as_bytes())
    }

    /// Bytes of the client that the server received and the capture missed.
    pub fn lose(&mut self, len: u32) {
        self.seq[CLIENT] = self.seq[CLIENT].wrapping_add(len);
    }

    /// Both sides close.
    pub fn end(mut self) -> io::Result<()> {
        for from in [CLIENT, SERVER] {
            self.packet(from, FIN | ACK, b"")?;
            self.seq[from] = self.seq[from].wrapping_add(1);
        }
        self.out.flush()
    }

    fn say(&mut self, from: usize, payload: &[u8]) -> io::Result<()> {
        self.packet(from, ACK, payload)?;
        self.seq[from] = self.seq[from].wrapping_add(payload.len() as u32);
        Ok(())
    }

    fn packet(&mut self, from: usize, flags: u8, payload: &[u8]) -> io::Result<()> {
        let to = 1 - from;
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((40 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 7, 0, 0, 64, 6, 0, 0]);
        frame.extend([10, 0, 0, from as u8, 10, 0, 0, to as u8]);
        frame.extend(self.ports[from].to_be_bytes());
        frame.extend(self.ports[to].to_be_bytes());
        frame.extend(self.seq[from].to_be_bytes());
        frame.extend(self.seq[to].to_be_bytes());
        frame.extend([5 << 4, flags, 0x20, 0, 0, 0, 0, 0]);
        frame.extend(payload);
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at = at.unwrap();
        let length = frame.len() as u32;
        let mut bytes = Vec::new();
        for word in [at.as_secs() as u32, at.subsec_nanos(), length, length] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(frame);
        self.out.write_all(&bytes)
    }
}

pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32 + 4).to_be_bytes();
    [&[tag], &length[..], body].concat()
}
