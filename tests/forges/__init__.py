"""Stateful fakes of the forges on loopback, with real git over http behind them.

They are emulators: they follow the APIs' documentation, as far as our adapters use them, and prove nothing about a
real forge. One server answers the API and serves the repositories::

    with FakeGithub(tmp_path) as forge:                      # or FakeGitlab, FakeGitea; .start() and .stop() do too
        forge.token("canary-token")                          # sees every repository that is visible
        for n in range(280):
            forge.add(f"acme/service-{n}", private=True)
        for n in range(20):
            forge.add(f"acme/hidden-{n}", private=True, visible=False)   # exists, and no token sees it
        forge.faults.inject(limited(status=403, retry_after=7), path="/repos", after=1)
        ...                                                  # forge.api_url, forge.web_url, forge.clone_url(slug)
        forge.seen                                           # every request: path, status and what it authorised with

``add`` links the files of one tiny bare repository, so 300 take well below a second; ``files=`` gives a repository a
commit of its own. Fields of the API's row are overridden by name: ``forge.add("acme/old", archived=True)``. Rows lie in
``forge.repos`` by slug and may be changed or removed between requests.
"""
