//! The two ciphers of TLS 1.3 records. RFC 8446, 5.2 "Record Payload Protection"; RFC 8439; NIST SP 800-38D.

use aead::array::Array;
use aead::consts::{U12, U16};
use aead::{AeadCore, AeadInOut, KeyInit, KeySizeUser};
use alloc::boxed::Box;
use core::marker::PhantomData;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

/// Bytes of a tag.
const TAG: usize = 16;

/// A cipher, by its type.
pub struct Algorithm<C>(PhantomData<fn() -> C>);

pub static CHACHA20_POLY1305: Algorithm<chacha20poly1305::ChaCha20Poly1305> = Algorithm(PhantomData);
pub static AES_128_GCM: Algorithm<aes_gcm::Aes128Gcm> = Algorithm(PhantomData);

/// What both have in common.
pub trait Cipher:
    AeadInOut + AeadCore<NonceSize = U12, TagSize = U16> + KeyInit + Send + Sync + 'static
{
}

impl<C> Cipher for C where
    C: AeadInOut + AeadCore<NonceSize = U12, TagSize = U16> + KeyInit + Send + Sync + 'static
{
}

struct Keyed<C> {
    /// `None`: the key had a wrong length, and nothing can be read or written.
    cipher: Option<C>,
    iv: Iv,
}

impl<C: Cipher> Keyed<C> {
    fn new(key: &AeadKey, iv: Iv) -> Box<Self> {
        Box::new(Self { cipher: C::new_from_slice(key.as_ref()).ok(), iv })
    }

    fn nonce(&self, sequence: u64) -> Array<u8, U12> {
        Nonce::new(&self.iv, sequence).0.into()
    }
}

impl<C: Cipher> Tls13AeadAlgorithm for Algorithm<C> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Keyed::<C>::new(&key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Keyed::<C>::new(&key, iv)
    }

    fn key_len(&self) -> usize {
        <C as KeySizeUser>::key_size()
    }

    /// Secrets stay where they are.
    fn extract_keys(&self, _: AeadKey, _: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

impl<C: Cipher> MessageEncrypter for Keyed<C> {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let cipher = self.cipher.as_ref().ok_or(Error::EncryptError)?;
        let bytes = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(bytes);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let tag = cipher
            .encrypt_inout_detached(&self.nonce(sequence), &make_tls13_aad(bytes), payload.as_mut().into())
            .map_err(|_| Error::EncryptError)?;
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, bytes: usize) -> usize {
        // The type's byte and the tag.
        bytes.saturating_add(1).saturating_add(TAG)
    }
}

impl<C: Cipher> MessageDecrypter for Keyed<C> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let cipher = self.cipher.as_ref().ok_or(Error::DecryptError)?;
        let nonce = self.nonce(sequence);
        let payload = &mut message.payload;
        let plain = payload.len().checked_sub(TAG).ok_or(Error::DecryptError)?;
        let aad = make_tls13_aad(payload.len());
        let (body, tag) = payload.split_at_mut_checked(plain).ok_or(Error::DecryptError)?;
        let tag = Array::try_from(&*tag).map_err(|_| Error::DecryptError)?;
        cipher.decrypt_inout_detached(&nonce, &aad, body.into(), &tag).map_err(|_| Error::DecryptError)?;
        payload.truncate(plain);
        message.into_tls13_unpadded_message()
    }
}
