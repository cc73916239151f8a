//! Programs whose user signs in elsewhere, from the one door.

use std::net::IpAddr;
use std::sync::Arc;

use super::Control;
use crate::device::{self, DeviceCodes, DeviceRefusal, DeviceRequest, DeviceView};
use crate::shared::Shared;
use crate::{Caller, CreatedApiKey, Error};

impl Control {
    /// Begins for a program: what it asks with, and what its user is to show. Everybody may.
    ///
    /// # Errors
    /// [`Error::TooManyRequests`] where too many wait.
    pub async fn begin_device(
        &self,
        request: DeviceRequest,
        address: Option<IpAddr>,
    ) -> Result<DeviceCodes, Error> {
        device::begin(&self.shared, request, address).await
    }

    /// What waits under a user code, for a person who signed in.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a code under which nothing waits, [`Error::TooManyRequests`] after too many of them,
    /// [`Error::Forbidden`] for a key.
    pub fn look_at_device(&self, caller: &Caller, user_code: &str) -> Result<DeviceView, Error> {
        device::look(&self.shared, caller, user_code)
    }

    /// Lets a program in as the caller's user, or refuses it.
    ///
    /// # Errors
    /// As [`Self::look_at_device`].
    pub async fn decide_on_device(
        &self,
        caller: &Caller,
        user_code: &str,
        is_approved: bool,
    ) -> Result<(), Error> {
        let (caller, user_code) = (caller.clone(), user_code.to_owned());
        let task = |shared: Arc<Shared>| async move {
            device::decide(&shared, &caller, &user_code, is_approved).await
        };
        // A person who goes away must not leave a decision that only the store knows.
        self.shared
            .finish_shared("letting in a program", task)
            .await
    }

    /// The key of a program that was let in, once; or why there is none.
    pub async fn redeem_device(
        &self,
        device_code: &str,
    ) -> Result<Result<CreatedApiKey, DeviceRefusal>, Error> {
        device::redeem(&self.shared, device_code).await
    }
}
