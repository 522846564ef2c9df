"""What a person looks at: figures, the page of a run, tables and the progress bar."""

from jaxcnn.report.summary import summary as summary
from jaxcnn.report.write import write_report as write_report
