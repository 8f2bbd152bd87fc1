//! An object's bytes.

use crate::http::{Ended, Wire};
use crate::kept::name_field;
use crate::port::{Port, Request};
use abi::RequestKind;
use alloc::string::String;
use alloc::vec;
use embedded_io_async::{Read, Write};

/// Bytes of one step.
const STEP: usize = 32 * 1024;

/// A part of an object.
pub(crate) struct Download {
    pub object: String,
    pub from: u64,
    pub bytes: u64,
}

impl Download {
    /// Writes it all, or ends the connection: its length was told.
    pub async fn run<S: Read + Write, P: Port>(
        self,
        port: &P,
        wire: &mut Wire<'_, S, P>,
    ) -> Result<(), Ended> {
        let name = name_field(&self.object).ok_or(Ended::Closed)?;
        let (mut at, mut left) = (self.from, self.bytes);
        let mut piece = vec![0; STEP];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(STEP).min(STEP);
            let request =
                Request { kind: RequestKind::ReadObject, target: 0, argument: at, send: [&name, &[]] };
            let into = piece.get_mut(..most).unwrap_or_default();
            let received = port.request(request, into).await.map_err(|_| Ended::Closed)?;
            let data =
                piece.get(..received.bytes.min(most)).filter(|data| !data.is_empty()).ok_or(Ended::Closed)?;
            wire.write(data).await?;
            at = at.saturating_add(data.len() as u64);
            left = left.saturating_sub(data.len() as u64);
        }
        wire.flush().await
    }
}
