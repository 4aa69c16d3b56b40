# `mix test` starts no application here (see mix.exs), since the follower is one.
{:ok, _started} = Application.ensure_all_started(:alumiini_git)
ExUnit.start()
