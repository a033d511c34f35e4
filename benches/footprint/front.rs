//! TLS before the embedded vendor: a certificate made for this run, and a thread that hands on what it decrypts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use quotad::demo::vendor::Vendor;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// Lives as long as the process.
pub(crate) struct Front {
    address: SocketAddr,
    vendor: String,
}

impl Front {
    /// Listens on a port of its own, and leaves its certificate as `ca.pem` in `dir`.
    pub(crate) fn before(vendor: &Vendor, dir: &Path) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.join("ca.pem"), made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config =
            ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let usage = vendor.usage_url();
        let vendor = usage.split('/').nth(2).unwrap().to_owned();
        let behind = vendor.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, behind) = (acceptor.clone(), behind.clone());
                    tokio::spawn(async move {
                        // A client that breaks off is its own business.
                        let Ok(mut client) = acceptor.accept(stream).await else { return };
                        let Ok(mut vendor) = TcpStream::connect(behind).await else { return };
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut vendor).await;
                    });
                }
            });
        });
        Self { address, vendor }
    }

    /// A URL of the vendor's, by way of this front.
    pub(crate) fn outward(&self, url: &str) -> String {
        url.replace("http://", "https://").replace(&self.vendor, &self.address.to_string())
    }
}
