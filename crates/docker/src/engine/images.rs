//! Images that containers are made of.

use bollard::{auth::DockerCredentials, query_parameters::CreateImageOptions};
use futures_util::StreamExt as _;

use super::{CallError, Engine};

impl Engine {
    /// Whether the engine has the image.
    ///
    /// # Errors
    ///
    /// As the engine says; never [`CallError::Missing`].
    pub async fn has_image(&self, image: &str) -> Result<bool, CallError> {
        match self.client().await?.inspect_image(image).await.map_err(CallError::from) {
            Ok(_) => Ok(true),
            Err(CallError::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Fetches the image from its registry, without credentials, and waits until it is there. Without a tag it is
    /// `latest`.
    ///
    /// # Errors
    ///
    /// [`CallError::Missing`] if the registry has none for the asking, [`CallError::Failed`] if it cannot be reached.
    pub async fn pull(&self, image: &str) -> Result<(), CallError> {
        let options = CreateImageOptions {
            from_image: Some(with_tag(image)),
            ..CreateImageOptions::default()
        };
        let client = self.client().await?;
        let mut stream = std::pin::pin!(client.create_image(Some(options), None, None::<DockerCredentials>));
        while let Some(step) = stream.next().await {
            step?;
        }
        Ok(())
    }
}

/// The name with its tag: without one, the engine would fetch every image of that name.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_is_the_latest() {
        for (image, expected) in [
            ("adit", "adit:latest"),
            ("adit:1.2", "adit:1.2"),
            ("registry.example:5000/adit", "registry.example:5000/adit:latest"),
            ("lscr.io/linuxserver/wireguard:1.0", "lscr.io/linuxserver/wireguard:1.0"),
            ("adit@sha256:00", "adit@sha256:00"),
        ] {
            assert_eq!(with_tag(image), expected);
        }
    }
}
