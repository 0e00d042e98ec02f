"""The room of clusters and jobs: what goes along with an experiment (`upload`), and the job that runs it (`jobs`)."""
