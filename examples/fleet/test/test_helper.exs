# `mix test` starts no application here (see mix.exs), since this one follows what its environment
# says.
for application <- [:alumiini_git, :syn], do: {:ok, _} = Application.ensure_all_started(application)
ExUnit.start()
