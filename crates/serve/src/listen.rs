//! Accepting connections, serving them within bounds of time and memory, and how they end.

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
use crate::patience::Patience;

/// How often the stop flag is looked at.
const GLANCE: Duration = Duration::from_millis(50);
/// How long accepting rests when the system has no more sockets.
const REST: Duration = Duration::from_millis(100);

/// Bytes read ahead of a connection, and bytes written ahead of it, both here and by the system.
const BUFFER: usize = 64 << 10;

/// Serves connections until `stop` is raised, and then what is in flight. Returns whether that was
/// finished in time.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    stop: &AtomicBool,
) -> bool {
    // Connections inherit it. Where it cannot be set, the system's own bound holds.
    let _ = SockRef::from(&listener).set_send_buffer_size(BUFFER);
    let graceful = GracefulShutdown::new();
    let connections = Connections::new(limits.connections, limits.patience);
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .half_close(true)
        .max_buf_size(BUFFER);
    let accept = async {
        for number in 0.. {
            let stream = accepted(&listener, &connections).await;
            let stream = TokioIo::new(Patience::new(stream, limits.answer_time));
            let slot = connections.slot(number).await;
            slot.spawn(|activity| {
                let router = TowerToHyperService::new(router.clone());
                let service = service_fn(move |mut request: Request<Incoming>| {
                    // The body comes next, and then the answer goes.
                    activity.wait();
                    request.extensions_mut().insert(activity.clone());
                    let (response, activity) = (router.call(request), activity.clone());
                    async move {
                        let response = response.await;
                        activity.wait();
                        response
                    }
                });
                let connection = graceful.watch(builder.serve_connection(stream, service));
                async {
                    // Whoever broke the connection off cannot be told.
                    let _ = connection.await;
                }
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = raised(stop) => {}
    }
    drop((listener, router));
    let clients_are_waited_for = async {
        loop {
            connections.close_slow();
            sleep(GLANCE).await;
        }
    };
    tokio::select! {
        finished = timeout(limits.shutdown_time, graceful.shutdown()) => finished.is_ok(),
        () = clients_are_waited_for => false,
    }
}

async fn accepted(listener: &TcpListener, connections: &Arc<Connections>) -> TcpStream {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
        connections.close_slowest();
        sleep(REST).await;
    }
}

async fn raised(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        sleep(GLANCE).await;
    }
}
