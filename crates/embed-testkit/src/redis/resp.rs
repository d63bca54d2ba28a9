//! A few commands over a plain socket: enough to inspect a Redis and to disturb it, without the behaviour of a client.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may take to answer; one that is paused never does.
const PATIENCE: Duration = Duration::from_secs(20);

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK` and the like.
    Status(String),
    /// What it refuses.
    Error(String),
    /// A number.
    Number(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Nil,
    /// Several.
    List(Vec<Self>),
}

impl Reply {
    /// The number; otherwise the reply as it is.
    pub fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => panic!("a number was expected, not {other:?}"),
        }
    }

    /// The bytes; otherwise the reply as it is.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            other => panic!("bytes were expected, not {other:?}"),
        }
    }

    /// The answers; otherwise the reply as it is.
    pub fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            other => panic!("a list was expected, not {other:?}"),
        }
    }

    /// The text of a status or of bytes.
    pub fn text(&self) -> String {
        match self {
            Self::Status(text) => text.clone(),
            other => String::from_utf8_lossy(other.bytes()).into_owned(),
        }
    }
}

/// Sends commands over one connection, and returns the answer of the last one.
pub(super) fn talk(port: u16, commands: &[&[&[u8]]]) -> std::io::Result<Reply> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut last = Reply::Nil;
    for command in commands {
        let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
        for part in *command {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        stream.write_all(&bytes)?;
        last = read(&mut reader)?;
    }
    Ok(last)
}

fn read(reader: &mut BufReader<TcpStream>) -> std::io::Result<Reply> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end();
    let odd = || std::io::Error::other(format!("Redis answered {line:?}"));
    let rest = line.get(1..).ok_or_else(odd)?;
    let number = || rest.parse::<i64>().map_err(|_| odd());
    Ok(match line.as_bytes().first() {
        Some(b'+') => Reply::Status(rest.to_owned()),
        Some(b'-') => Reply::Error(rest.to_owned()),
        Some(b':') => Reply::Number(number()?),
        Some(b'$') => match usize::try_from(number()?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                reader.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Bytes(bytes)
            }
        },
        Some(b'*') => Reply::List((0..number()?).map(|_| read(reader)).collect::<std::io::Result<_>>()?),
        _ => return Err(odd()),
    })
}
