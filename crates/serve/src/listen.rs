//! Connections: how many, how long they may take to say what they want, and how they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::limits::Limits;

/// How often the stop flag is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// How long accepting rests when the system has no more sockets.
const REST: Duration = Duration::from_millis(100);

/// Serves connections until `stop` is raised, and then what is in flight. Whether that was finished in
/// time.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    stop: &AtomicBool,
) -> bool {
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(limits.connections));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_time);
    let accept = async {
        loop {
            // Never closed, so it is always given.
            let Ok(permit) = connections.clone().acquire_owned().await else { return };
            let stream = accepted(&listener).await;
            let service = TowerToHyperService::new(router.clone());
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                // Whoever broke the connection off cannot be told.
                let _ = connection.await;
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = raised(stop) => {}
    }
    drop((listener, router));
    timeout(limits.shutdown_time, graceful.shutdown()).await.is_ok()
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => sleep(REST).await,
        }
    }
}

async fn raised(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        sleep(GLANCE).await;
    }
}
