//! Selection of image servers.

use capn_image::name::ImageServers;
use clap::Args;

use crate::environment::Environment;
use crate::error::CommandError;

/// Image server options of a command.
#[derive(Clone, Debug, Default, Args)]
pub struct ImageServerArgs {
    /// Image server for default images; PREFIX=URL sets the server for images written PREFIX:NAME;
    /// can be repeated [default: $CAPN_IMAGE_SERVER, or https://images.linuxcontainers.org/capn/]
    #[arg(long = "image-server", value_name = "[PREFIX=]URL")]
    pub image_servers: Vec<String>,
}

impl ImageServerArgs {
    /// Returns the image servers: from the option, the environment variable, or the default.
    ///
    /// # Errors
    ///
    /// Returns a usage error if an entry is not a URL.
    pub fn servers(&self, environment: &Environment) -> Result<ImageServers, CommandError> {
        parse(&entries(&self.image_servers, environment))
    }
}

/// Returns the entries of the option, or of the environment variable.
pub fn entries(option: &[String], environment: &Environment) -> Vec<String> {
    match option {
        [] => environment.image_servers().into_iter().map(str::to_owned).collect(),
        given => given.to_vec(),
    }
}

/// Parses entries.
///
/// # Errors
///
/// Returns a usage error if an entry is not a URL.
pub fn parse(entries: &[String]) -> Result<ImageServers, CommandError> {
    ImageServers::of(entries).map_err(|error| {
        CommandError::usage(error.to_string())
            .hint("Incus and LXD require HTTPS: `--image-server https://HOST/PATH`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_overrides_the_variable() {
        let environment = Environment::with([("CAPN_IMAGE_SERVER", "https://v.example")]);
        let none = ImageServerArgs::default();
        assert_eq!(none.servers(&environment).unwrap().default_url(), "https://v.example");
        let given = ImageServerArgs { image_servers: vec!["https://o.example".into()] };
        assert_eq!(given.servers(&environment).unwrap().default_url(), "https://o.example");
        let own = none.servers(&Environment::default()).unwrap();
        assert_eq!(own, ImageServers::default());
    }
}
