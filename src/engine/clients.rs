//! The request connections of a configuration: from `[[request]]` to running clients.

use super::EngineError;
use super::client::{RequestClient, RequestClientOptions};
use super::plan::{self, TlsConfigs};
use crate::config::{RequestCodec, RequestConfig};
use crate::control::{Authentication, BinanceCodec, BudgetLimits, BybitCodec, Codec, Credentials, JsonRpc, logins};
use crate::market::Venue;
use crate::net::{SharedGovernor, WebSocketOptions};
use crate::venue::protocol;
use std::sync::Arc;

/// Connects every request connection. To be called inside the cold runtime.
///
/// # Errors
/// [`EngineError`]: trust, or a setting that cannot be.
pub(super) fn connect_all(
    configs: &[RequestConfig],
    governor: &Arc<SharedGovernor>,
    requests_per_second: u32,
    tls: &mut TlsConfigs,
) -> Result<Vec<RequestClient>, EngineError> {
    configs.iter().map(|config| connect(config, (governor, requests_per_second), tls)).collect()
}

/// What a venue allows one address, by what is spoken there. Of a venue that states nothing only the pace is kept.
fn limits(codec: RequestCodec, requests_per_second: u32) -> BudgetLimits {
    let of = |venue| BudgetLimits::of(protocol(venue));
    let stated = match codec {
        RequestCodec::Binance => of(Venue::BinanceSpot),
        RequestCodec::Bybit => of(Venue::BybitLinear),
        RequestCodec::JsonRpc => BudgetLimits { connects: None, rest_weight: None, ..of(Venue::BybitLinear) },
    };
    BudgetLimits { requests_per_second: Some(requests_per_second), ..stated }
}

fn connect(
    config: &RequestConfig,
    (governor, requests_per_second): (&Arc<SharedGovernor>, u32),
    tls: &mut TlsConfigs,
) -> Result<RequestClient, EngineError> {
    let codec: Arc<dyn Codec> = match config.codec {
        RequestCodec::JsonRpc => Arc::new(JsonRpc),
        RequestCodec::Binance => Arc::new(BinanceCodec),
        RequestCodec::Bybit => Arc::new(BybitCodec),
    };
    let mut options = RequestClientOptions::new(&config.name, config.url.clone(), codec);
    options.connect = plan::request_options(config, tls.get(config.tls.ca_file.as_ref())?);
    options.sizes =
        WebSocketOptions { max_message_bytes: config.limits.max_message_bytes, ..WebSocketOptions::default() };
    options.governor = Some((Arc::clone(governor), limits(config.codec, requests_per_second)));
    options.request_timeout = config.timeout;
    options.machine.requests.pending_max = config.pending_max;
    let refused = |what| EngineError::Settings { connection: config.name.clone(), what };
    options.machine.heartbeat = plan::request_heartbeat(config).map_err(refused)?;
    options.machine.reconnect = plan::reconnect_settings(&config.reconnect, plan::random_seed());
    if let Some(auth) = &config.auth {
        let credentials = Credentials::new(auth.key.value.reveal(), auth.secret.value.reveal());
        let login = match config.codec {
            RequestCodec::Binance => &logins::BINANCE_USER,
            RequestCodec::Bybit => &logins::BYBIT,
            RequestCodec::JsonRpc => &logins::DERIBIT,
        };
        options.machine.authentication = Some(Authentication::new(login, credentials));
    }
    let (client, unsolicited) = RequestClient::connect(options);
    // Nobody reads what answers nothing: it is counted as it is dropped.
    drop(unsolicited);
    Ok(client)
}
