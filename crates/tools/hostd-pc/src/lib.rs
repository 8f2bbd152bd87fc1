//! hostd on a PC: management over a vmkernel in RAM, behind a loopback port. Everything is lost when it ends.
#![forbid(unsafe_code)]

mod host;
mod tls;
mod vms;

pub use host::PcHost;

use anyhow::{Context, Result};
use embedded_io_adapters::tokio_1::FromTokio;
use management::Management;
use management::web::Web;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// How it is started.
#[derive(Clone, Default)]
pub struct Options {
    /// By HTTPS, with a CA and a certificate that are made now.
    pub tls: bool,
    /// The loopback port; 0: any that is free.
    pub port: u16,
    /// With some VMs.
    pub demo: bool,
    /// With a datastore that has some more.
    pub datastore: bool,
    /// With this pack as its web UI.
    pub web: Option<PathBuf>,
}

/// Reads a pack; it stays until the process ends.
fn web(path: &Path) -> Result<Web> {
    let pack = fs::read(path).with_context(|| format!("no web UI in {}", path.display()))?;
    Web::open(pack.leak()).with_context(|| format!("{} is no pack of a web UI", path.display()))
}

/// Serves until the process ends. `started` gets the port, `log` the lines of the host's log.
pub fn serve(options: Options, started: impl FnOnce(u16), log: impl Fn(&str) + 'static) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::bind(("127.0.0.1", options.port))
            .await
            .with_context(|| format!("can't listen on 127.0.0.1:{}", options.port))?;
        let host = PcHost::new(log);
        if options.demo {
            vms::put(host.vmkernel());
        }
        if options.datastore {
            vms::put_datastore(host.vmkernel()).await;
        }
        let tls = if options.tls { Some(tls::start(&host).await?) } else { None };
        let web = options.web.as_deref().map(web).transpose()?.unwrap_or_default();
        let management = Rc::new(Management::new(host).with_web(web));
        let running = management.clone();
        tokio::task::spawn_local(async move { running.run().await });
        started(listener.local_addr()?.port());
        loop {
            let (stream, peer) = listener.accept().await?;
            let (management, tls) = (management.clone(), tls.clone());
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(async move {
                // Without room the connection is closed.
                let Some(ticket) = management.admit(peer.ip()) else { return };
                let stream = FromTokio::new(stream);
                let Some(config) = tls else {
                    management::serve(&management, stream, peer, ticket).await;
                    return;
                };
                // Who speaks no TLS gets no answer.
                let Some(stream) = management::accept(&config, stream, &ticket).await else { return };
                management::serve(&management, stream, peer, ticket).await;
            });
        }
    })
}
