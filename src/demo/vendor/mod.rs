//! The embedded vendor: a strict fake of Anthropic's two endpoints on loopback, and a [`Shelf`] of the other vendors'
//! answers, for `demo`, the tests and the benches.
//!
//! [`World`] is all the rules, pure: it takes a request and the time and gives what reaches the client. [`Vendor`] puts
//! it behind a socket, on a thread of its own, so that one works the same inside a runtime, in a plain test, and beside
//! a daemon process that is about to be killed. Tells tokens apart by label (`A3`, `R2`); all of them are fake.

mod answer;
mod http;
mod quota;
mod shelf;
mod tokens;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

pub use self::answer::{Answer, Delivery, Garbage, Plan, RetryAfter};
pub use self::http::Request;
pub use self::quota::{Budget, Meter, Quota};
use self::shelf::PLANS;
pub use self::shelf::Shelf;
pub use self::tokens::{Tokens, credential_file_json};
pub use self::world::{Call, Reuse, World};
use crate::clock::Clock;
use crate::policy::time::Stamp;

/// The public client id of Claude Code: the only one the token endpoint takes.
pub const CLIENT_ID: &str = "9d1c250a-e61b-44d9-88ed-5944d1962f5e";
/// Path of the usage endpoint.
pub const USAGE_PATH: &str = "/api/oauth/usage";
/// Path of the token endpoint.
pub const TOKEN_PATH: &str = "/v1/oauth/token";

/// A [`World`] that listens on 127.0.0.1. Stops when dropped.
pub struct Vendor {
    address: SocketAddr,
    clock: Clock,
    world: Arc<Mutex<World>>,
    server: Option<Server>,
    /// While stopped: bound but not listening, so that the port refuses connections and nobody else gets it.
    kept: Option<TcpSocket>,
}

impl Vendor {
    /// Starts a vendor with an empty world on a free port, on a thread of its own. The world's time is `clock`'s.
    ///
    /// # Errors
    /// No port, no thread or no runtime to be had.
    pub fn start(clock: Clock) -> io::Result<Self> {
        let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let world = Arc::new(Mutex::new(World::new(rand::random())));
        let mut vendor = Self { address: socket.local_addr()?, clock, world, server: None, kept: Some(socket) };
        vendor.restart()?;
        Ok(vendor)
    }

    /// Closes the port and every connection; on return the port refuses connections. The world remains.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.end();
            self.kept = bind(self.address).ok();
        }
    }

    /// Listens again, on the same port. Does nothing while it listens.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> io::Result<()> {
        if self.server.is_none() {
            let socket = self.kept.take().map_or_else(|| bind(self.address), Ok)?;
            self.server = Some(Server::start(socket, self.clock.clone(), Arc::clone(&self.world))?);
        }
        Ok(())
    }

    /// Where usage is asked.
    pub fn usage_url(&self) -> String {
        format!("http://{}{USAGE_PATH}", self.address)
    }

    /// Where refresh tokens are exchanged.
    pub fn token_url(&self) -> String {
        format!("http://{}{TOKEN_PATH}", self.address)
    }

    /// Where an account of `provider` asks to be given this scenario of [`Shelf`]; `path` is what the vendor's own
    /// endpoint has after its host.
    pub fn plan_url(&self, provider: &str, scenario: &str, path: &str) -> String {
        format!("http://{}{PLANS}{provider}/{scenario}/{path}", self.address)
    }

    /// World time.
    pub fn now(&self) -> Stamp {
        self.clock.now().stamp
    }

    /// Looks at the world, or changes it, between two requests.
    pub fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Scripts the usage endpoint.
    pub fn usage(&self) -> Script<'_> {
        Script { vendor: self, plan: World::usage }
    }

    /// Scripts the token endpoint.
    pub fn token(&self) -> Script<'_> {
        Script { vendor: self, plan: World::token }
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The [`Plan`] of one endpoint of a [`Vendor`].
#[derive(Clone, Copy)]
pub struct Script<'a> {
    vendor: &'a Vendor,
    plan: fn(&mut World) -> &mut Plan,
}

impl Script<'_> {
    /// See [`Plan::next`].
    pub fn next(self, answer: Answer) -> Self {
        self.vendor.with(|world| {
            (self.plan)(world).next(answer);
        });
        self
    }

    /// See [`Plan::always`].
    pub fn always(self, answer: Answer) -> Self {
        self.vendor.with(|world| {
            (self.plan)(world).always(answer);
        });
        self
    }

    /// See [`Plan::clear`].
    pub fn clear(self) -> Self {
        self.vendor.with(|world| (self.plan)(world).clear());
        self
    }
}

/// The thread that listens.
struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Server {
    fn start(socket: TcpSocket, clock: Clock, world: Arc<Mutex<World>>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            socket.listen(128)?
        };
        let (stop, stopped) = oneshot::channel();
        let listening = move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = listen(listener, clock, world) => {}
                }
            });
        };
        let thread = thread::Builder::new().name("vendor".to_owned()).spawn(listening)?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread; its runtime takes the listener and every connection with it.
    fn end(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

async fn listen(listener: TcpListener, clock: Clock, world: Arc<Mutex<World>>) {
    loop {
        // Out of file descriptors, or a client gone before its turn: the next one may fare better.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (clock, world) = (clock.clone(), Arc::clone(&world));
        tokio::spawn(async move {
            let speed = clock.speed();
            let answer = |request: &Request| {
                world.lock().unwrap_or_else(PoisonError::into_inner).serve(request, clock.now().stamp)
            };
            // A client that breaks the connection is its own business.
            let _ = http::converse(stream, speed, answer).await;
        });
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    const LEASE: Duration = Duration::from_hours(8);

    fn vendor() -> (Vendor, Tokens) {
        let vendor = Vendor::start(Clock::compressed(1_000)).unwrap();
        let tokens = vendor.with(|world| world.login("account", LEASE, vendor.now()));
        (vendor, tokens)
    }

    fn connect(vendor: &Vendor) -> io::Result<TcpStream> {
        TcpStream::connect(vendor.address)
    }

    fn send(stream: &mut TcpStream, request: &Request) {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: x\r\n", request.method, request.path);
        for (name, value) in &request.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        write!(stream, "{head}content-length: {}\r\n\r\n", request.body.len()).unwrap();
        stream.write_all(&request.body).unwrap();
    }

    /// Everything the vendor sends in answer to one request on a connection of its own.
    fn exchange(vendor: &Vendor, mut request: Request) -> String {
        request.headers.push(("connection".to_owned(), "close".to_owned()));
        let mut stream = connect(vendor).unwrap();
        send(&mut stream, &request);
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Head and body; whether the body is as long as the head says.
    fn is_whole(answer: &str) -> bool {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        length.parse() == Ok(body.len())
    }

    #[test]
    fn a_request_over_tcp_is_answered_and_journaled() {
        let (vendor, tokens) = vendor();
        let answer = exchange(&vendor, Request::usage(&tokens.access));
        assert!(answer.starts_with("HTTP/1.1 200 ") && is_whole(&answer), "{answer}");
        assert!(answer.contains("\r\ndate: ") && answer.contains("\"five_hour\""), "{answer}");
        assert!(exchange(&vendor, Request::refresh(&tokens.refresh)).contains("FAKE-R2"));
        assert_eq!(vendor.with(|world| (world.usage_requests().count(), world.token_posts().count())), (1, 1));
    }

    #[test]
    fn a_connection_may_be_kept_for_several_requests() {
        let (vendor, tokens) = vendor();
        let mut stream = connect(&vendor).unwrap();
        for n in 1..=3 {
            send(&mut stream, &Request::usage(&tokens.access));
            let mut start = [0; 12];
            stream.read_exact(&mut start).unwrap();
            assert_eq!(&start, b"HTTP/1.1 200");
            let mut byte = [0];
            let mut rest = Vec::from(start);
            while !is_complete(&rest) {
                stream.read_exact(&mut byte).unwrap();
                rest.push(byte[0]);
            }
            assert_eq!(vendor.with(|world| world.usage_requests().count()), n);
        }
    }

    fn is_complete(answer: &[u8]) -> bool {
        str::from_utf8(answer).is_ok_and(|text| text.contains("\r\n\r\n") && is_whole(text))
    }

    #[test]
    fn a_lost_response_rotates_and_drops_the_connection() {
        let (vendor, tokens) = vendor();
        vendor.token().next(Answer::LoseResponse);
        assert_eq!(exchange(&vendor, Request::refresh(&tokens.refresh)), "");
        assert!(vendor.with(|world| world.login_lost(&tokens.refresh)));
        assert!(exchange(&vendor, Request::refresh(&tokens.refresh)).starts_with("HTTP/1.1 400 "), "a replay");
        assert!(vendor.with(|world| world.current(&tokens.refresh)).is_none());
    }

    #[test]
    fn half_a_body_breaks_off_and_a_drip_arrives_whole() {
        let (vendor, tokens) = vendor();
        vendor.usage().next(Answer::HalfBody).next(Answer::Drip { delay: Duration::from_millis(1) });
        assert!(!is_whole(&exchange(&vendor, Request::usage(&tokens.access))));
        assert!(is_whole(&exchange(&vendor, Request::usage(&tokens.access))));
    }

    #[test]
    fn a_hanging_connection_ends_when_the_vendor_stops() {
        let (mut vendor, tokens) = vendor();
        vendor.usage().always(Answer::Hang);
        let mut stream = connect(&vendor).unwrap();
        send(&mut stream, &Request::usage(&tokens.access));
        while vendor.with(|world| world.calls().is_empty()) {
            thread::yield_now();
        }
        vendor.stop();
        let mut answer = String::new();
        assert!(matches!(stream.read_to_string(&mut answer), Ok(0) | Err(_)), "{answer}");
    }

    #[test]
    fn a_stopped_vendor_refuses_connections_and_comes_back_on_the_same_port() {
        let (mut vendor, tokens) = vendor();
        let url = vendor.usage_url();
        for _ in 0..3 {
            vendor.stop();
            assert_eq!(connect(&vendor).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
            vendor.restart().unwrap();
            assert!(exchange(&vendor, Request::usage(&tokens.access)).starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(vendor.usage_url(), url);
    }

    #[test]
    fn two_vendors_share_no_token() {
        let ((one, first), (_two, second)) = (vendor(), vendor());
        assert_ne!(first, second);
        assert!(exchange(&one, Request::usage(&second.access)).starts_with("HTTP/1.1 401 "));
    }

    #[tokio::test]
    async fn a_vendor_works_inside_a_runtime_too() {
        let (mut vendor, _) = vendor();
        vendor.stop();
        vendor.restart().unwrap();
        assert!(tokio::net::TcpStream::connect(vendor.address).await.is_ok());
    }
}
