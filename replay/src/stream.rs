//! A connection to the target, plain or under TLS.

use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Is it open, and did nothing come that was not asked for?
    pub(crate) fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(self)
            .poll_read(&mut cx, &mut ReadBuf::new(&mut byte))
            .is_pending()
    }

    /// Did something come, or its end, that is not read yet? The kernel knows before the runtime does.
    pub(crate) fn has_news(&self) -> bool {
        let tcp = match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        let mut asked = [PollFd::new(tcp.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|found| found > 0)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;
    use std::thread;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_closed_or_talking_connection_is_not_quiet() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for says in ["", "408"] {
            let tcp = TcpStream::connect(address).await.unwrap();
            let (mut other, _) = listener.accept().unwrap();
            let mut stream = Stream::Plain(tcp);
            assert!(stream.is_quiet());
            other.write_all(says.as_bytes()).unwrap();
            drop(other);
            let Stream::Plain(tcp) = &stream else {
                unreachable!()
            };
            tcp.readable().await.unwrap();
            assert!(!stream.is_quiet());
        }
    }

    #[tokio::test]
    async fn what_came_is_news_until_it_is_read_and_an_end_for_ever() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut stream = Stream::Plain(TcpStream::connect(address).await.unwrap());
        let (mut server, _) = listener.accept().unwrap();
        assert!(!stream.has_news());
        server.write_all(b"x").unwrap();
        // The runtime has no turn in between.
        while !stream.has_news() {
            thread::yield_now();
        }
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        assert!(!stream.has_news());
        drop(server);
        while !stream.has_news() {
            thread::yield_now();
        }
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        assert!(stream.has_news());
    }
}
