defmodule Mix.Tasks.AlumiiniGit.Doctor do
  @shortdoc "Checks the worker of alumiini_git, and how far one gets with a remote"

  @moduledoc """
  Tells which worker alumiini_git runs, and with a URL, step by step, whether and how that remote
  can be reached.

      mix alumiini_git.doctor
      mix alumiini_git.doctor https://git.example.com/team/app.git --token-env GIT_TOKEN
      mix alumiini_git.doctor git@git.example.com:app.git --ssh-key ~/.ssh/id_ed25519 --ref main

  It needs no running server. In a release there is `Alumiini.Git.Doctor.run/2`. What it prints for
  a remote whose host key is not known:

      The worker
        binary    /app/_build/dev/lib/alumiini_git/priv/alumiini-git
        origin    https://github.com/yairfalse/alumiini_git/releases/download/v0.1.0/alumiini-git-v0.1.0-x86_64-unknown-linux-gnu.tar.gz
        archive   alumiini-git-v0.1.0-x86_64-unknown-linux-gnu.tar.gz sha256:…
        checksum  sha256:…, as when it was installed
        version   0.1.0
        target    x86_64-unknown-linux-gnu
        libgit2   1.9.1
        protocol  1

      ssh://git@git.example.com/team/app.git
        ✓ resolve       1.8 ms  192.0.2.7
        ✓ connect      10.2 ms  192.0.2.7:22
        ✗ ssh          15.2 ms  ssh-ed25519
          the host key of git.example.com is not known; …
          add to known_hosts, once the fingerprint has been checked:
          git.example.com ssh-ed25519 AAAA…

      Something is wrong, see above.

  ## Options

  Arguments can be read by every process of a machine, so none of these is a secret: secrets come
  from environment variables, by their names, and from files.

    * `--ref REF` - also look for this ref: `HEAD`, the name of a branch, or a full name
    * `--username USER` - with one of the next two, or for SSH
    * `--password-env VAR` - a password, as `Alumiini.Git.Auth.basic/2`
    * `--token-env VAR` - an access token, as `Alumiini.Git.Auth.token/2`
    * `--bearer-env VAR` - a token, as `Alumiini.Git.Auth.bearer/1`
    * `--ssh-key FILE`, `--passphrase-env VAR` - a private key, and its passphrase, as
      `Alumiini.Git.Auth.ssh_key/2`
    * `--ssh-agent` - the keys of the SSH agent, as `Alumiini.Git.Auth.ssh_agent/1`
    * `--known-hosts FILE` - the only host keys to accept
    * `--ca FILE`, `--cert FILE`, `--key FILE` - PEM: certificates to trust beside the system's, a
      client certificate, its key
    * `--proxy URL|environment`, `--no-proxy HOSTS` - as the options of `Alumiini.Git.ls_remote/3`
    * `--allow-insecure` - send credentials over plain `http://`, too
    * `--help`, `-h` - this text
    * `--timeout MS` - for each request, in milliseconds. Default: 30,000

  ## Exit status

    * 0 - all is well
    * 1 - there is no worker, or a step failed; the line that begins with `✗` says which, and the
      sentence after it what to do
    * 2 - wrong arguments, with one of the lines below on standard error

  ## Errors about arguments

    * `unknown option --tokn`
    * `--timeout has no value, or one of the wrong kind`
    * `--timeout must be a positive number of milliseconds`
    * `one URL at most`
    * `options say how to reach a URL, but there is none`
    * `the URL must hold no credentials, for other processes can see it; give --username with
      --password-env, or --token-env`
    * `--token-env and --ssh-agent do not go together` - one kind of credentials at a time
    * `--password-env goes with --username`
    * `--username goes with --password-env or --token-env or --ssh-key or --ssh-agent`
    * `--known-hosts goes with --ssh-key or --ssh-agent`
    * `--passphrase-env goes with --ssh-key`
    * `the environment variable that --token-env names is not set` - or is empty
    * `the file that --ssh-key names cannot be read: no such file or directory`
    * `--cert and --key go together`
    * `option :tls: :ca must be PEM text (not the name of a file, and not DER); read the file with
      File.read!/1` - the file of `--ca` (or `--cert`, `--key`) holds something else
    * `--proxy must be a URL that begins with http://, https://, socks5:// or socks5h://, or
      environment`
    * `the URL of --proxy must hold no credentials, for other processes can see it; put it into the
      environment variable https_proxy and give --proxy environment`
  """

  use Mix.Task

  alias Alumiini.Git.Doctor
  alias Alumiini.Git.Doctor.{Arguments, Report}

  # So that `config :alumiini_git, binary: path` counts, too.
  @requirements ["app.config"]

  @impl true
  def run(argv) do
    case Arguments.parse(argv) do
      {:ok, arguments} ->
        # Not with the server of a project that starts: what counts is what the arguments say.
        options = [server: nil, timeout: arguments.timeout] ++ arguments.options
        ref = if arguments.ref, do: [ref: arguments.ref], else: []
        report = Doctor.run(arguments.url, ref ++ options)
        # Colours are left out where the output is no terminal.
        for line <- Report.lines(report), do: Mix.shell().info(line)
        if not Report.ok?(report), do: exit({:shutdown, 1})

      :help ->
        Mix.shell().info(Mix.Task.moduledoc(__MODULE__) || @shortdoc)

      {:error, message} ->
        Mix.shell().error("mix alumiini_git.doctor: #{message}")
        exit({:shutdown, 2})
    end
  end
end
