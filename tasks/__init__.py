"""What flows chain: thin @task wrappers at this level, rooms below it that know no Prefect."""
