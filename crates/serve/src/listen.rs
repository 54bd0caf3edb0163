//! Accepting and serving connections with limits on time and memory, and graceful shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::connections::Connections;
use crate::limits::Limits;
use crate::write_timeout::WriteTimeout;

/// Interval between checks of the stop flag.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Delay before accepting again when the system has run out of sockets.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Size of a connection's read buffer, write buffer and kernel send buffer, in bytes.
const BUFFER: usize = 64 << 10;

/// Serves connections until `stop` is set, then finishes requests in flight.
///
/// Returns true if they finished in time.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    stop: &AtomicBool,
) -> bool {
    // Connections inherit the option. If it cannot be set, the system's default applies.
    let _ = SockRef::from(&listener).set_send_buffer_size(BUFFER);
    let graceful = GracefulShutdown::new();
    let connections = Connections::new(limits.connections, limits.idle_before_eviction);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .half_close(true)
        .max_buf_size(BUFFER);
    let accept = async {
        for number in 0.. {
            let stream = accept_connection(&listener, &connections).await;
            let stream = TokioIo::new(WriteTimeout::new(stream, limits.answer_time));
            let slot = connections.slot(number).await;
            slot.spawn(|activity| {
                let router = TowerToHyperService::new(router.clone());
                let service = service_fn(move |mut request: Request<Incoming>| {
                    // The client now sends the body, then reads the response.
                    activity.wait_for_client();
                    request.extensions_mut().insert(activity.clone());
                    let (response, activity) = (router.call(request), activity.clone());
                    async move {
                        let response = response.await;
                        activity.wait_for_client();
                        response
                    }
                });
                let connection = graceful.watch(builder.serve_connection(stream, service));
                async {
                    // A client that has disconnected cannot receive an error.
                    let _ = connection.await;
                }
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = wait_for_stop(stop) => {}
    }
    drop((listener, router));
    let close_idle_connections = async {
        loop {
            connections.close_idle();
            sleep(STOP_POLL_INTERVAL).await;
        }
    };
    tokio::select! {
        finished = timeout(limits.shutdown_time, graceful.shutdown()) => finished.is_ok(),
        () = close_idle_connections => false,
    }
}

async fn accept_connection(listener: &TcpListener, connections: &Arc<Connections>) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
        connections.evict_longest_idle();
        sleep(ACCEPT_RETRY_DELAY).await;
    }
}

async fn wait_for_stop(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        sleep(STOP_POLL_INTERVAL).await;
    }
}
