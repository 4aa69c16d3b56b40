defmodule Alumiini.Git.Options do
  @moduledoc """
  The options of `Alumiini.Git.start_link/1`, and those that several functions of `Alumiini.Git`
  share. What one function has for itself is in its own documentation.

  ## Of every call

    * `:server` - which server: a pid, a name, `{name, node}`, `{:global, term}` or
      `{:via, module, term}`. Default: `Alumiini.Git`
    * `:timeout` - in milliseconds, the time in queues included. Default: 300,000
    * `:telemetry_metadata` - a map of your own, such as `%{tenant: "shop"}`, that the call's events
      have under this key (`Alumiini.Git.Telemetry`). Give it no secret. Default: an empty map

  ## Of calls to a remote

  `Alumiini.Git.sync/4`, `Alumiini.Git.ls_remote/3` and `Alumiini.Git.refs/2` take these, too:

    * `:auth` - credentials from `Alumiini.Git.Auth`, or a function that returns some (see
      "Credentials that expire" there). They take precedence over those in the URL
    * `:allow_insecure` - send credentials over plain `http://`, too. Default: `false`
    * `:tls` - a keyword list or a map of PEM texts: `:ca`, certificates to trust beside the
      system's, and `:cert` and `:key`, a client certificate with its chain and its private key.
      They take precedence over those of the credentials (`Alumiini.Git.Auth.from_secret/1`), and
      those over the server's. Unset keys fall back to the next source
    * `:proxy` - the URL of a proxy (`http://`, `https://`, `socks5://`, or `socks5h://` where the
      proxy shall resolve names; with `user:password@` if it wants that), `:none`, or
      `:environment`: for `https://` the variables `https_proxy`, `HTTPS_PROXY`, `all_proxy`,
      `ALL_PROXY`, for `http://` only `http_proxy` and the last two (see
      [httpoxy.org](https://httpoxy.org) for why), none for SSH. The environment is that of the
      server's node. Default: the server's, which is `:none`
    * `:no_proxy` - the hosts that are reached without the proxy: a list, or a string with commas.
      Names stand for all below them, too; IP addresses, CIDR ranges and `*` will do. Default: the
      server's, or with `:environment` the variables `no_proxy`, `NO_PROXY`

  `:auth` (made by `Alumiini.Git.Auth.for_urls/1`), `:tls`, `:proxy` and `:no_proxy` can be given to
  `Alumiini.Git.start_link/1`, for all calls that do not say otherwise.

  ## Of calls that read a commit

  `Alumiini.Git.snapshot/3` and `Alumiini.Git.export/3` take these. So do `Alumiini.Git.files/3` and
  `Alumiini.Git.read/3`, which look at the working tree without `:at`. The guide
  [Reading repositories](reading.md) has examples.

    * `:at` - the commit: a full or an abbreviated id, a branch or tag, a full ref name, or what
      else gitrevisions(7) has but a search (`":/text"`). It has to be in the repository: nothing is
      fetched, and a sync brings no tags and no branch but its own. Default: HEAD
    * `:match` - only the files that these patterns take: a string or a list of strings, each as a
      line of a `.gitignore` (`"*.yaml"` in any directory, `"/deploy/*.yaml"` from the top,
      `"charts/**/values.yaml"`; `"!*.test.yaml"` takes files out again). Default: all
    * `:ignore` - without the files that these patterns take: the lines of a file such as Flux's
      `.sourceignore`, as a list or as the text of that file. They take precedence over `:match`

  There may be 256 patterns of each, of at most 1,024 bytes and UTF-8; others are `:invalid`. They
  are about paths as the answer has them.

  ## Of a server

  `Alumiini.Git.start_link/1` and a child specification take these:

    * `:name` - what to register it as: an atom, `{:global, term}` or `{:via, module, term}`; `nil`
      for no name. Default: `Alumiini.Git`
    * `:binary` - the absolute path of the worker's binary. Default: the application environment's
      `config :alumiini_git, binary: path`, else the one in the `priv/` of this library's build
    * `:max_pending` - how many requests may be pending before further ones are answered
      `:overloaded`. Default: 4096
    * `:max_requests`, `:max_requests_per_host` - how many requests may talk to remotes at a time,
      altogether and with one host. The others wait for their turn, within their timeouts. Defaults:
      256 and 32. See "Requests to one host"
    * `:max_requests_per_second_per_host` - how many requests to one host may begin in a second, a
      number from 0.001 to 1,000,000, or `:infinity`. See "Requests to one host". Default:
      `:infinity`
    * `:schemes` - which remotes may be reached: some of `:https`, `:http`, `:ssh` and `:file`
      (paths of this machine, too). Others are `:unsupported`. Default: all. Where somebody else
      chooses URLs, a controller's tenants for one, `[:https, :ssh]` is what to give
    * `:allow_local` - the directories in which repositories of this machine may be read as remotes,
      whatever `:schemes` says; what is below them only, also by what it borrows from. `[]` for
      none. Default: anywhere, if `:file` is among the schemes and the repository belongs to the
      user that the BEAM runs as (elsewhere Git calls that `safe.directory`)
    * `:addresses` - which addresses the worker may connect to: `:any` (the default), `:public`, or
      rules. See "Addresses"
    * `:root` - the one directory, given by its absolute path, that the `path` of every call has to
      be below. It has to exist; it is not made, and is no `path` itself. A path that leads out of
      it, by `..` or by a link, also by one that takes its place in the middle of a call, is
      `:unsafe_path`. Absolute links are followed if they begin with the root. Give it where paths
      are joined from what others choose, and where others can write into the directories that are
      synced, a shared volume for one. For two volumes, start two servers. Remotes on this machine
      are not meant: see `:allow_local`. Default: any path
    * `:auth` - credentials for the calls that have none of their own, neither as `:auth` nor in the
      URL, made by `Alumiini.Git.Auth.for_urls/1`: each goes to the URLs that it is for only
    * `:tls`, `:proxy`, `:no_proxy` - for all calls to remotes, see "Of calls to a remote". Under a
      supervisor, give them in `{Alumiini.Git, options}`: `Alumiini.Git.child_spec/1` keeps them out
      of what a supervisor logs
    * `:grace` - how long, in milliseconds, the worker may take to let go of a request that timed
      out or was cancelled, before it is killed and replaced. Default: 5,000
    * `:handshake_timeout` - how long, in milliseconds, a worker may take to start. Default: 5,000
    * `:heartbeat` - how long, in milliseconds, the worker may be silent, at least 100. It is asked
      twice in that time whether it still reads requests; one that says nothing at all is killed and
      replaced, and what was in flight is run again. That is noticed within half of the time more.
      Default: 10,000
    * `:backoff_initial`, `:backoff_max` - the first and the longest pause, in milliseconds, between
      two attempts to start a worker. Each is twice as long as the one before, and up to half of it
      is left out at random. Defaults: 100 and 10,000

  ## Requests to one host

  A host (scheme, name and port, and the proxy before it) gets `:max_requests_per_host` requests at
  a time, and no more in a second than `:max_requests_per_second_per_host`. A second's worth, at
  least one, may begin at once. One that is redirected counts once. The others wait, which costs
  neither a thread nor a place, until their turn, their `:timeout` or their caller's end.

    * Repositories take turns, so that a thousand calls for one of them come between those for
      another one as a single one. A repository is a URL, with its credentials.
    * Repositories that fail have a quarter of the places together, at least one. A repository fails
      if its last request did: the connection broke, the server answered with a status of 500 or
      above, or the call was given up (its `:timeout`, its caller's end) after a second or more. It
      is in order again once one of its requests has an answer to its end; a refusal, such as 401 or
      404, is one. A new one counts as good.
    * A request of which the answer has not begun after ten seconds counts as failing while it waits
      (where a host takes long for all its answers, after four times as long as they take, at most a
      minute). If such requests have more than their quarter and others wait, the last ones to have
      begun give up their places. They are made again when it is the turn of those that fail; the
      call sees nothing of that. So 50 repositories that hang do not hold up 500 others. An answer
      that stops in the middle keeps its place until the call's deadline, and its repository fails
      from then on.
    * A host that answers "not now" and says for how long (`Retry-After`, with 429, 403 or 503) is
      left alone for that time, at most five minutes, by calls with the same credentials. The call
      that was told gets `:rate_limited` (or `:network`, for a 503). Others wait if that is over in
      a minute and before their deadline; the rest get `:rate_limited` at once, with the seconds
      that are left in `detail.retry_after`. After that, a quarter of the places is used until the
      host has answered.

  `Alumiini.Git.info/2` shows who waits, and `queue_time` of `Alumiini.Git.Telemetry` for how long.
  What is known of hosts and repositories is forgotten when the worker ends; of at most 4,096 hosts
  and 1,024 repositories that fail at each it is kept.

  ## Addresses

  Whoever may choose a URL can have the worker connect to whatever it can reach: the services of the
  node, the cloud's metadata. The text of a URL does not tell: `https://0x7f000001/` and
  `https://127.1/` are `127.0.0.1`, a name leads to what its owner says, and a server may redirect.
  So `:addresses` is asked about the address itself, after names are resolved, for each connection
  over HTTP, HTTPS and SSH, also to where a server redirects, and the address that was asked about
  is the one that is connected to. A remote that leads only to others is `:unsupported`; the error
  does not tell its address.

    * `:public` - those that are reachable from everywhere. Not loopback, link-local
      (`169.254.0.0/16`, where clouds have their metadata, and `fe80::/10`), private (RFC 1918,
      `fc00::/7`), shared (`100.64.0.0/10`), multicast, reserved and documentation, nor any of these
      within IPv6 (mapped, NAT64, 6to4)
    * rules: `allow:` and `deny:`, lists of ranges (`"10.1.0.0/16"`, `"fd00::/8"`, `"10.1.2.3"`),
      and `default:`, for what is in none: `:public` (the default), `:any` or `:none`. Of the ranges
      that an address is in, the smallest decides; where the same range is in both, it is denied. An
      address of IPv4 within IPv6 is that of IPv4

  Some examples:

      # Public ones, and the forge of one's own.
      {Alumiini.Git, schemes: [:https, :ssh], addresses: [allow: ["10.1.2.0/24"]]}
      # Nothing but that.
      {Alumiini.Git, addresses: [default: :none, allow: ["10.1.2.0/24"]]}
      # All but the cloud's metadata and the node itself.
      {Alumiini.Git, addresses: [default: :any, deny: ["169.254.0.0/16", "127.0.0.0/8", "::1"]]}

  A proxy's own address is not asked about: you chose it. Proxies of the kinds `http`, `https` and
  `socks5h` resolve the names that they are asked for, so only hosts that are addresses, and
  `localhost`, are checked then. Let the proxy refuse the rest. With `socks5` names are resolved,
  and checked, by the worker.

  There is no function that decides: the worker would have to wait for an answer of the BEAM while
  it connects.
  """

  alias Alumiini.Git
  alias Alumiini.Git.Auth

  @typedoc "An option of `{:semver, requirement, options}`. See \"Refs\" at `Alumiini.Git.sync/4`."
  @type semver :: {:prefix, String.t()} | {:filter, Regex.t()} | {:pre, boolean}

  @typedoc "An option of `Alumiini.Git.start_link/1`."
  @type start ::
          {:name, GenServer.name() | nil}
          | {:binary, Path.t()}
          | {:max_pending, pos_integer}
          | {:max_requests, pos_integer}
          | {:max_requests_per_host, pos_integer}
          | {:max_requests_per_second_per_host, number | :infinity}
          | {:schemes, [:https | :http | :ssh | :file]}
          | {:allow_local, [Path.t()]}
          | {:addresses, addresses}
          | {:root, Path.t()}
          | {:auth, Auth.t()}
          | {:tls, tls}
          | {:proxy, proxy}
          | {:no_proxy, String.t() | [String.t()]}
          | {:grace, pos_integer}
          | {:handshake_timeout, pos_integer}
          | {:heartbeat, pos_integer}
          | {:backoff_initial, pos_integer}
          | {:backoff_max, pos_integer}

  @typedoc "Which addresses may be connected to. See \"Addresses\"."
  @type addresses ::
          :any
          | :public
          | [{:default, :any | :public | :none} | {:allow, [String.t()]} | {:deny, [String.t()]}]

  @typedoc "An option of every call."
  @type call ::
          {:server, GenServer.server()} | {:timeout, pos_integer} | {:telemetry_metadata, map}

  @typedoc "An option of `Alumiini.Git.info/2`."
  @type info :: {:hosts, boolean} | {:timeout, pos_integer}

  @typedoc "An option of the calls that talk to a remote."
  @type remote ::
          {:auth, Auth.given()}
          | {:allow_insecure, boolean}
          | {:tls, tls}
          | {:proxy, proxy}
          | {:no_proxy, String.t() | [String.t()]}

  @typedoc "PEM texts: `:ca`, `:cert`, `:key`. See \"Of calls to a remote\"."
  @type tls :: [{:ca | :cert | :key, String.t()}] | %{optional(:ca | :cert | :key) => String.t()}

  @typedoc "The URL of a proxy, or where to look for one. See \"Of calls to a remote\"."
  @type proxy :: String.t() | :environment | :none

  @typedoc "An option of the calls that read a commit."
  @type commit ::
          {:at, String.t()}
          | {:match, String.t() | [String.t()]}
          | {:hint, String.t() | nil}
          | {:ignore, String.t() | [String.t()]}

  @typedoc "An option of `Alumiini.Git.files/3`."
  @type files :: call | commit | {:recursive, boolean}

  @typedoc "An option of `Alumiini.Git.read/3`."
  @type read :: call | {:at, String.t()} | {:max_bytes, pos_integer}

  @typedoc "An option of `Alumiini.Git.checkout/3`."
  @type checkout :: call | {:force, boolean} | {:progress, (Git.progress() -> any)}

  @typedoc "An option of `Alumiini.Git.ls_remote/3`."
  @type ls_remote :: call | remote

  @typedoc "An option of `Alumiini.Git.refs/2`."
  @type refs ::
          call
          | remote
          | {:prefix, String.t() | [String.t()]}
          | {:max_bytes, pos_integer}

  @typedoc "An option of `Alumiini.Git.snapshot/3`."
  @type snapshot ::
          call
          | commit
          | {:known, [Git.sha()] | MapSet.t(Git.sha())}
          | {:content, boolean}
          | {:max_bytes, pos_integer}
          | {:max_files, pos_integer}

  @typedoc "An option of `Alumiini.Git.diff/4`."
  @type diff ::
          call
          | {:paths, Path.t() | [Path.t()]}
          | {:match, String.t() | [String.t()]}
          | {:ignore, String.t() | [String.t()]}
          | {:renames, boolean}

  @typedoc "An option of `Alumiini.Git.log/2`."
  @type log ::
          call | {:from, String.t()} | {:limit, pos_integer} | {:path, Path.t()}

  @typedoc "An option of `Alumiini.Git.export/3`."
  @type export ::
          call
          | commit
          | {:subpath, Path.t()}
          | {:format, :directory | :tar_gz}
          | {:link, boolean}
          | {:grace, non_neg_integer}
          | {:max_bytes, pos_integer}

  @typedoc "An option of `Alumiini.Git.sync/4` and `Alumiini.Git.update/4`."
  @type sync ::
          call
          | remote
          | {:depth, pos_integer | :infinity}
          | {:force, boolean}
          | {:ignore, String.t() | [String.t()]}
          | {:keep, pos_integer}
          | {:paths, Path.t() | [Path.t()]}
          | {:progress, (Git.progress() -> any)}
          | {:working_tree, boolean}
end
