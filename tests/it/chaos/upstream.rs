//! An upstream with moods: it answers `GET /g/LENGTH/SEED` with a body that only this seed has, and `POST /p/SEED` with
//! the length and the seed of what it was sent, or it does what upstreams do in bad hours.

use super::{Dice, pattern};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Well,
    /// The head comes late and the body in pieces.
    Slow,
    /// Half an answer, then the end.
    Truncating,
    /// A reset as soon as the request is there.
    Resetting,
    /// No answer at all.
    Silent,
    /// No HTTP.
    Babbling,
    /// Nobody listens, and what was open is reset.
    Down,
}

const BAD: [Mood; 6] = [
    Mood::Slow,
    Mood::Truncating,
    Mood::Resetting,
    Mood::Silent,
    Mood::Babbling,
    Mood::Down,
];

pub(super) struct Troubled {
    addr: SocketAddr,
    mood: Arc<watch::Sender<Mood>>,
    runtime: Handle,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl Troubled {
    /// On a free port of loopback, well, in the runtime of the caller.
    pub(super) fn start() -> Self {
        let mut troubled = Self {
            addr: (Ipv4Addr::LOCALHOST, 0).into(),
            mood: Arc::new(watch::Sender::new(Mood::Well)),
            runtime: Handle::current(),
            accepting: Mutex::new(None),
        };
        troubled.addr = troubled.listen();
        troubled
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Well in half of the turns, so that circuits close again, and another mood in the others.
    pub(super) fn turn(&self, dice: &mut Dice) {
        let bad = BAD[dice.below(BAD.len() as u64) as usize];
        self.set(if dice.below(2) == 0 { Mood::Well } else { bad });
    }

    pub(super) fn recover(&self) {
        self.set(Mood::Well);
    }

    fn set(&self, mood: Mood) {
        if self.mood.send_replace(mood) == mood {
            return;
        }
        let listens = self.accepting.lock().unwrap().is_some();
        match mood {
            Mood::Down => {
                if let Some(accepting) = self.accepting.lock().unwrap().take() {
                    accepting.abort();
                }
            }
            _ if !listens => {
                self.listen();
            }
            _ => {}
        }
    }

    fn listen(&self) -> SocketAddr {
        let _guard = self.runtime.enter();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.addr).unwrap();
        let listener = socket.listen(1024).unwrap();
        let addr = listener.local_addr().unwrap();
        let mood = self.mood.clone();
        let accepting = self.runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // What breaks here is meant to.
                tokio::spawn(serve(stream, mood.subscribe()));
            }
        });
        *self.accepting.lock().unwrap() = Some(accepting);
        addr
    }
}

async fn serve(stream: TcpStream, mut mood: watch::Receiver<Mood>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut down = mood.clone();
    tokio::select! {
        result = answer_all(&mut stream, &mut mood) => return result,
        _ = down.wait_for(|mood| *mood == Mood::Down) => {}
    }
    stream.get_ref().set_zero_linger()
}

async fn answer_all(
    stream: &mut BufReader<TcpStream>,
    mood: &mut watch::Receiver<Mood>,
) -> io::Result<()> {
    while let Some((path, body)) = request(stream).await? {
        let now = *mood.borrow_and_update();
        let parts: Vec<&str> = path.split('/').collect();
        let (seed, content) = match parts[..] {
            ["", "g", length, seed] => {
                let (length, seed) = (length.parse().unwrap(), seed.parse().unwrap());
                (seed, pattern(seed, length))
            }
            ["", "p", seed] => {
                let seed: u64 = seed.parse().unwrap();
                let right = body == pattern(seed, body.len());
                (seed, format!("{} {right}", body.len()).into_bytes())
            }
            _ => panic!("another path arrives than was asked for: {path}"),
        };
        let answer = rendered(seed, &content);
        let half = answer.len() - content.len() / 2 - 1;
        match now {
            Mood::Well => stream.write_all(&answer).await?,
            Mood::Slow => {
                tokio::time::sleep(Duration::from_millis(100 + seed % 300)).await;
                for piece in answer.chunks(answer.len() / 4 + 1) {
                    stream.write_all(piece).await?;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            Mood::Truncating => {
                stream.write_all(&answer[..half]).await?;
                return stream.shutdown().await;
            }
            Mood::Resetting | Mood::Down => return stream.get_ref().set_zero_linger(),
            Mood::Silent => {
                // Until its mood changes; then the connection ends without a word.
                mood.changed().await.ok();
                return Ok(());
            }
            Mood::Babbling => {
                stream.write_all(b"HTTP/1.1 2OO 0K\r\n\r\n").await?;
                return stream.shutdown().await;
            }
        }
    }
    Ok(())
}

/// With a length or in chunks, as the seed will have it.
fn rendered(seed: u64, content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 200 OK\r\nX-Seed: {seed}\r\n").into_bytes();
    if seed.is_multiple_of(2) {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", content.len()).as_bytes());
        bytes.extend_from_slice(content);
    } else {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        for piece in content.chunks(20_000) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    bytes
}

/// The path and body of the next request; none when the peer is done.
async fn request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<(String, Vec<u8>)>> {
    let (mut path, mut length, mut chunked) = (None, 0, false);
    loop {
        let line = line(stream).await?;
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        match name.to_ascii_lowercase().as_str() {
            "" if path.is_none() => return Ok(None),
            "" => break,
            "content-length" => length = value.trim().parse().unwrap(),
            "transfer-encoding" => chunked = true,
            _ if path.is_none() => path = line.split(' ').nth(1).map(str::to_owned),
            _ => {}
        }
    }
    let mut body = Vec::new();
    loop {
        if chunked {
            length = usize::from_str_radix(&line(stream).await?, 16).map_err(io::Error::other)?;
        }
        let start = body.len();
        body.resize(start + length, 0);
        stream.read_exact(&mut body[start..]).await?;
        if !chunked {
            break;
        }
        line(stream).await?;
        if length == 0 {
            break;
        }
    }
    Ok(path.map(|path| (path, body)))
}

async fn line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}
